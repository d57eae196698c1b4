package deferral

import (
	"strconv"
	"strings"

	"github.com/weir-moderation/weir/pipeline/event"
)

// The headers by which a deferred push tells where it comes from. Only Weir writes
// them, and on the topic of deferred pushes they are believed.
const (
	HeaderFirst = "weir-first"     // topic/partition/offset
	HeaderCount = "weir-deferrals" // how often it was deferred
)

// Past is what was before a push came from the topic of deferred pushes.
type Past struct {
	// Topic, Partition and Offset are the place at which the push was read first.
	Topic     string
	Partition int32
	Offset    int64
	Count     int // how often it was deferred since, at least once
}

// Headers returns the headers that say so.
func (p *Past) Headers() [2]event.Header {
	place := p.Topic + "/" + strconv.Itoa(int(p.Partition)) + "/" + strconv.FormatInt(p.Offset, 10)
	return [2]event.Header{
		{Key: HeaderFirst, Value: []byte(place)},
		{Key: HeaderCount, Value: strconv.AppendInt(nil, int64(p.Count), 10)},
	}
}

// ReadPast reads the headers of a deferred push, and reports false if they do not
// say where it comes from. Of headers of one name the last one counts: Weir writes
// its own behind all others.
func ReadPast(headers []event.Header) (p Past, ok bool) {
	var place, count string
	for i := range headers {
		switch headers[i].Key {
		case HeaderFirst:
			place = string(headers[i].Value)
		case HeaderCount:
			count = string(headers[i].Value)
		}
	}
	parts := strings.Split(place, "/")
	if len(parts) != 3 || parts[0] == "" {
		return Past{}, false
	}
	partition, err := strconv.ParseUint(parts[1], 10, 31)
	if err != nil {
		return Past{}, false
	}
	offset, err := strconv.ParseUint(parts[2], 10, 63)
	if err != nil {
		return Past{}, false
	}
	n, err := strconv.ParseUint(count, 10, 31)
	if err != nil || n == 0 {
		return Past{}, false
	}
	return Past{parts[0], int32(partition), int64(offset), int(n)}, true
}
