package app_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Messages with as many headers as a broker takes become dead letters, those with
// large ones are judged, and so are those that come after them.
func TestFloodOfHeaders(t *testing.T) {
	d := startDaemon(t)
	var many []kgo.RecordHeader
	for i := range 20_000 {
		many = append(many, kgo.RecordHeader{Key: fmt.Sprint("h", i), Value: []byte("x")})
	}
	large := []kgo.RecordHeader{{Key: strings.Repeat("k", 200_000), Value: []byte(strings.Repeat("v", 600_000))}}
	same := make([]kgo.RecordHeader, 10_000)
	for i := range same {
		same[i] = kgo.RecordHeader{Key: "traceparent", Value: []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")}
	}
	text := `{"id":"%s","time":"` + time.Now().UTC().Format(time.RFC3339) + `","user":{"id":"u"},"fields":{"text":"违禁测试词"}}`
	for i, headers := range [][]kgo.RecordHeader{many, large, same} {
		for kind, value := range map[string]string{"whole": fmt.Sprintf(text, fmt.Sprint("flood", i)), "broken": fmt.Sprintf(`{"id":"broken%d`, i)} {
			r := &kgo.Record{Topic: "weir.posts", Key: []byte("u"), Value: []byte(value), Headers: headers}
			if err := d.client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
		}
	}
	d.produce(t, "weir.posts", "u", fmt.Appendf(nil, text, "after"))
	d.find(t, "weir.review", "after")
	d.find(t, "weir.review", "flood1") // large ones are no matter
	d.await(t, "/metrics", `weir_dead_letter_messages_total{reason="too-many-headers"} 4`)
	d.await(t, "/metrics", `weir_dead_letter_messages_total{reason="truncated"} 1`)
	d.stop(t)
}
