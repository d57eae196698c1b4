package ingest

import (
	"context"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline"
)

// Replay hands out what a scan reads as a [Source] would hand out the topic, once: the
// records, with those that are no message marked. Of is what the configuration says of the
// topic, the zero Stream where the messages themselves must tell. A batch is valid until
// handle returns; an error of handle ends the replay and is returned.
func Replay(ctx context.Context, s *kafka.Scan, of Stream, handle func(*pipeline.Batch) error) error {
	format, err := of.Topic.Format(of.Kind)
	if err != nil {
		return err
	}
	l := slab{names: make(map[string]string)}
	return s.Read(ctx, func(b *kafka.Batch) error {
		defer l.reset()
		l.fill(b, of.Kind, format, of.maxHeaders())
		return handle(&l.batch)
	})
}
