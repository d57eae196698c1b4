package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/weir-moderation/weir/internal/kafka"
)

// offsetRange is some offsets of a partition, as one writes them:
// PARTITION:FIRST-NEXT, without NEXT up to the end.
type offsetRange struct {
	partition   int32
	first, next int64 // next is -1 for the end
}

// UnmarshalText reads a range.
func (r *offsetRange) UnmarshalText(text []byte) error {
	bad := fmt.Errorf("%q is no range of offsets; write it like 0:100-200, for the offsets 100 to 199 of partition 0, or 0:100- for all from 100 on", text)
	partition, offsets, ok := strings.Cut(string(text), ":")
	first, next, ok2 := strings.Cut(offsets, "-")
	p, err := strconv.ParseUint(partition, 10, 31)
	if !ok || !ok2 || err != nil {
		return bad
	}
	from, err := strconv.ParseUint(first, 10, 63)
	if err != nil {
		return bad
	}
	*r = offsetRange{partition: int32(p), first: int64(from), next: -1}
	if next == "" {
		return nil
	}
	to, err := strconv.ParseUint(next, 10, 63)
	if err != nil || to <= from {
		return bad
	}
	r.next = int64(to)
	return nil
}

// rangesOf returns the ranges as those of a topic.
func rangesOf(topic string, list []offsetRange) []kafka.Range {
	ranges := make([]kafka.Range, len(list))
	for i, r := range list {
		ranges[i] = kafka.Range{Topic: topic, Partition: r.partition, First: r.first, Next: r.next}
	}
	return ranges
}
