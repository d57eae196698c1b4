package sinks

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline"
)

// likeEncodingJSON tells what the value writes otherwise than encoding/json does.
func likeEncodingJSON(t *testing.T, v jsonValue) {
	t.Helper()
	want, err := encode(v)
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.appendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%T: %s", v, diff)
	}
}

// odd are texts that JSON, HTML or JavaScript reads otherwise than as they stand.
var odd = []string{"", "plain", "违禁品", "<b>&</b>", `"\/`, "\x00\x01\b\t\n\v\f\r\x1f \x7f", "\u2027\u2028\u2029\u202a", "€\u2028", "\U0001f600",
	"\ufffd", "bad\xff", "\xe2\x80", "\xe2", "\xed\xa0\x80", "\xc0\x80 \u2028"}

func FuzzText(f *testing.F) {
	for _, s := range odd {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := encode(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendText(nil, s); string(got) != string(want) {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	})
}

// Whatever stands in a message, and whatever is missing in it, is written as encoding/json writes it: also
// fields that a later version adds.
func TestMessagesAreWrittenAsByEncodingJSON(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	for _, often := range []float64{0, 0.5, 1} {
		for range 500 {
			for _, v := range []jsonValue{new(reviewMessage), new(decisionMessage)} {
				fill(chance, reflect.ValueOf(v).Elem(), often)
				likeEncodingJSON(t, v)
			}
		}
	}
}

// fill gives so many of the fields of a value something that is not zero. Lists are there, if empty.
func fill(chance *rand.Rand, v reflect.Value, often float64) {
	some := chance.Float64() < often
	switch v.Interface().(type) {
	case time.Time:
		if some {
			v.Set(reflect.ValueOf(time.Unix(chance.Int64N(1<<32), chance.Int64N(1_000_000_000)).UTC()))
		}
		return
	case time.Duration:
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				fill(chance, f, often)
			} else if v.Type().Field(i).Anonymous {
				fill(chance, reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem(), often)
			}
		}
	case reflect.Pointer:
		if some {
			v.Set(reflect.New(v.Type().Elem()))
			fill(chance, v.Elem(), often)
		}
	case reflect.Slice:
		n := 0
		if some {
			n = 1 + chance.IntN(3)
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(chance, v.Index(i), often)
		}
	case reflect.String:
		if some {
			s := odd[1+chance.IntN(len(odd)-1)]
			v.SetString(strings.Repeat(s, 1+chance.IntN(3)) + string(rune(chance.IntN(utf8.MaxRune+1))))
		}
	case reflect.Bool:
		v.SetBool(some)
	case reflect.Int, reflect.Int32, reflect.Int64:
		if some {
			v.SetInt(int64(int32(chance.Uint32())))
		}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if some {
			v.SetUint(1)
		}
	}
}

var copied []byte

func BenchmarkReviewMessage(b *testing.B) {
	chance := rand.New(rand.NewPCG(1, 2))
	m := new(reviewMessage)
	fill(chance, reflect.ValueOf(m).Elem(), 0)
	m.ID, m.EventID, m.Kind, m.Action, m.Reason = strings.Repeat("0123456789abcdef", 2), "p-0123456789abcdef", "post", "review", "content"
	m.Rules, m.Fold, m.Queue = strings.Repeat("0123456789abcdef", 4), "16.0.0-3", "standard"
	m.User, m.Time, m.Operation = user{"u-1234567", "default", true}, "2026-11-24T04:00:00.000Z", "post.create"
	m.Hits = m.Hits[:0:0]
	m.Hits = append(m.Hits, hitOfBench)
	m.Fields = []text{{"title", "今天天气很好，我们去公园"}, {"body", strings.Repeat("今天天气很好 and more of it ", 6)}}
	m.Evidence, m.Origin = evidenceRef{"cost/evidence/0/1", m.ID}, origin{Source: "cost", Topic: "weir.posts", Partition: 3, Offset: 123456, Timestamp: "2026-11-24T04:00:00.123Z"}
	b.Run("encoding/json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := encode(m); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("written", func(b *testing.B) {
		b.ReportAllocs()
		var room []byte
		for b.Loop() {
			var err error
			if room, err = m.appendTo(room[:0]); err != nil {
				b.Fatal(err)
			}
			copied = bytes.Clone(room)
		}
	})
}

var hitOfBench = func() (h pipeline.HitReport) {
	h.Rule, h.Category, h.Severity, h.Field, h.Text, h.Form, h.Confidence = "cost.review", "cost", "low", "body", "forbiddenstuff", "fold", "high"
	h.Start, h.End, h.StartUTF16, h.EndUTF16 = 120, 134, 80, 94
	return h
}()
