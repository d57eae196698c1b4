package wire

import "github.com/segmentio/kafka-go/protocol"

// The messages we speak.
var (
	Produce            = API{Key: protocol.Produce, Version: 8, Name: "Produce"}
	Fetch              = API{Key: protocol.Fetch, Version: 11, Name: "Fetch"}
	ListOffsets        = API{Key: protocol.ListOffsets, Version: 5, Name: "ListOffsets"}
	Metadata           = API{Key: protocol.Metadata, Version: 8, Name: "Metadata"}
	CreateTopics       = API{Key: protocol.CreateTopics, Version: 4, Name: "CreateTopics"}
	FindCoordinator    = API{Key: protocol.FindCoordinator, Version: 2, Name: "FindCoordinator"}
	JoinGroup          = API{Key: protocol.JoinGroup, Version: 5, Name: "JoinGroup"}
	SyncGroup          = API{Key: protocol.SyncGroup, Version: 3, Name: "SyncGroup"}
	Heartbeat          = API{Key: protocol.Heartbeat, Version: 3, Name: "Heartbeat"}
	LeaveGroup         = API{Key: protocol.LeaveGroup, Version: 3, Name: "LeaveGroup"}
	OffsetCommit       = API{Key: protocol.OffsetCommit, Version: 7, Name: "OffsetCommit"}
	OffsetFetch        = API{Key: protocol.OffsetFetch, Version: 7, Name: "OffsetFetch", Flexible: true} // for require_stable
	InitProducerID     = API{Key: protocol.InitProducerId, Version: 1, Name: "InitProducerId"}
	AddPartitionsToTxn = API{Key: protocol.AddPartitionsToTxn, Version: 1, Name: "AddPartitionsToTxn"}
	AddOffsetsToTxn    = API{Key: protocol.AddOffsetsToTxn, Version: 1, Name: "AddOffsetsToTxn"}
	TxnOffsetCommit    = API{Key: protocol.TxnOffsetCommit, Version: 3, Name: "TxnOffsetCommit", Flexible: true} // for the member's generation
	EndTxn             = API{Key: protocol.EndTxn, Version: 1, Name: "EndTxn"}

	// Only to look around; no daemon needs them.
	DescribeConfigs = API{Key: protocol.DescribeConfigs, Version: 2, Name: "DescribeConfigs"}
	DescribeGroups  = API{Key: protocol.DescribeGroups, Version: 3, Name: "DescribeGroups"} // for authorized operations
)

// Needed are the messages that no broker can do without, however Weir is
// configured.
func Needed() []API {
	return []API{
		Produce, Fetch, ListOffsets, Metadata, CreateTopics,
		FindCoordinator, JoinGroup, SyncGroup, Heartbeat, LeaveGroup, OffsetCommit, OffsetFetch,
		InitProducerID, AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit, EndTxn,
	}
}
