package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func bench(b *testing.B, read func([]byte) error) {
	data := post(b)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := read(data); err != nil {
			b.Fatal(err)
		}
	}
}

// The tokens of a post.
func BenchmarkScan(b *testing.B) {
	var p Parser
	bench(b, func(data []byte) error {
		_, err := p.Scan(data)
		return err
	})
}

// Whether a post is strict JSON.
func BenchmarkCheck(b *testing.B) {
	var p Parser
	bench(b, p.Check)
}

// Baseline: the tokens by jsontext, which is as strict.
func BenchmarkScanJSONText(b *testing.B) {
	var r bytes.Reader
	d := jsontext.NewDecoder(&r)
	bench(b, func(data []byte) error {
		r.Reset(data)
		d.Reset(&r)
		for {
			if _, err := d.ReadToken(); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	})
}

// Baseline: validity by jsontext.
func BenchmarkCheckJSONText(b *testing.B) {
	bench(b, func(data []byte) error {
		if !jsontext.Value(data).IsValid() {
			return errors.New("invalid")
		}
		return nil
	})
}

// Baseline: the tokens by encoding/json, which lets duplicates, invalid UTF-8
// and lone surrogates pass.
func BenchmarkScanEncodingJSON(b *testing.B) {
	bench(b, func(data []byte) error {
		d := json.NewDecoder(bytes.NewReader(data))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	})
}

// Baseline: validity by encoding/json.
func BenchmarkCheckEncodingJSON(b *testing.B) {
	bench(b, func(data []byte) error {
		if !json.Valid(data) {
			return errors.New("invalid")
		}
		return nil
	})
}

// The memory and time of an object with very many names.
func BenchmarkManyNames(b *testing.B) {
	var text bytes.Buffer
	text.WriteString(`{"":0`)
	for i := range 50_000 {
		text.WriteString(`,"k`)
		text.WriteString(string(rune('a' + i%26)))
		for v := i; v > 0; v /= 10 {
			text.WriteByte('0' + byte(v%10))
		}
		text.WriteString(`":0`)
	}
	text.WriteString(`}`)
	p := Parser{Limits: Limits{Values: 100_000}}
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		if err := p.Check(text.Bytes()); err != nil {
			b.Fatal(err)
		}
	}
}
