package pipeline_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/pipelinetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The in-memory source keeps the contract every source keeps.
func TestMemorySourceKeepsTheContract(t *testing.T) {
	pipelinetest.TestSource(t, func(*testing.T) pipelinetest.Input {
		topic := pipelinetest.NewTopic("posts", event.Post, 2)
		return pipelinetest.Input{
			Partitions: 2,
			Produce: func(p int32, values ...string) {
				for _, v := range values {
					topic.Append(p, nil, []byte(v))
				}
			},
			NewSource: func() pipeline.Source { return &pipelinetest.Source{Topic: topic} },
			Committed: topic.Committed,
		}
	})
}

// The in-memory sink keeps the contract every sink keeps.
func TestMemorySinkKeepsTheContract(t *testing.T) {
	pipelinetest.TestSink(t, func(*testing.T) (pipeline.Sink, func() []string) {
		s := new(pipelinetest.Sink)
		return s, s.IDs
	})
}

// The in-memory sink that commits progress keeps the contract every such sink keeps.
func TestMemorySinkKeepsTheContractOfProgress(t *testing.T) {
	pipelinetest.TestCommitting(t, func(*testing.T) pipelinetest.Committing {
		committed, lapsed := int64(0), false
		s := &pipelinetest.Sink{Progress: func(r pipeline.Range) error {
			if lapsed {
				return pipeline.ErrLost
			}
			committed = r.Next
			return nil
		}}
		return pipelinetest.Committing{
			Sink:      s,
			Progress:  func(next int64) *pipeline.Progress { return &pipeline.Progress{Topic: "posts", Next: next} },
			Lapse:     func() { lapsed = true },
			Read:      s.IDs,
			Committed: func() int64 { return committed },
		}
	})
}

// The in-memory handler keeps the contract every handler keeps.
func TestMemoryHandlerKeepsTheContract(t *testing.T) {
	pipelinetest.TestHandler(t, func(int) string { return "x" },
		func(_ *testing.T, s pipeline.Sink) pipeline.Handler { return &pipelinetest.Handler{Sink: s} })
}

// The pipeline keeps the contract every handler keeps.
func TestPipelineKeepsTheContract(t *testing.T) {
	value := func(i int) string { return post("e"+string(rune('a'+i)), "forbiddenstuff") }
	pipelinetest.TestHandler(t, value, func(t *testing.T, s pipeline.Sink) pipeline.Handler {
		return newPipeline(t, s)
	})
}
