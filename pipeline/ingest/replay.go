package ingest

import (
	"context"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
)

// Replay hands out what a scan reads as a [Source] would hand out the topic, once: the
// records, with those that are no message marked. Kind is what the topic carries, 0 where
// the messages themselves must tell. A batch is valid until handle returns; an error of
// handle ends the replay and is returned.
func Replay(ctx context.Context, s *kafka.Scan, kind event.Kind, handle func(*pipeline.Batch) error) error {
	l := slab{names: make(map[string]string)}
	return s.Read(ctx, func(b *kafka.Batch) error {
		defer l.reset()
		l.fill(b, kind)
		return handle(&l.batch)
	})
}
