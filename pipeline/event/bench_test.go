package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

func readPost(tb testing.TB) []byte {
	tb.Helper()
	b, err := os.ReadFile("testdata/post.json")
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// A post of the usual size.
func BenchmarkDecode(b *testing.B) {
	post := readPost(b)
	d := NewDecoder(DefaultConfig())
	var e Event
	b.SetBytes(int64(len(post)))
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%1000 == 0 {
			d.Reset() // as after a batch
		}
		if err := d.Decode(Post, nil, post, &e); err != nil {
			b.Fatal(err)
		}
	}
}

// The same as a CloudEvent in binary mode.
func BenchmarkDecodeCloudEvent(b *testing.B) {
	post := []byte(without(string(readPost(b)), `"id":"p-20261122-0012345","time":"2026-11-22T06:33:47.123Z",`))
	headers := ce(specversion, id, source, typed, timed, "content-type: application/json")
	d := NewDecoder(DefaultConfig())
	var e Event
	b.SetBytes(int64(len(post)))
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%1000 == 0 {
			d.Reset()
		}
		if err := d.Decode(Post, headers, post, &e); err != nil {
			b.Fatal(err)
		}
	}
}

// The same post found by a map, in turns with as it stands, so that the ratio is
// that of one run: in the names the post has anyway, and in those of a platform.
func BenchmarkDecodeMapped(b *testing.B) {
	const same = `map: {id: /id, time: /time, user: {id: /user/id, group: /user/group, verified: /user/verified}, operation: /operation,
  fields: {title: /fields/title, body: /fields/body}, client: {address: /client/address, port: /client/port, device: {id: /client/device/id, app: /client/device/app}}}`
	const own = `map: {id: /pid, time: /created_at, user: {id: /author/uid, group: /author/age, verified: /author/real}, operation: /type,
  fields: {title: /content/title, body: /content/text}, client: {address: /from/ip, port: /from/port, device: {id: /from/phone/id, app: /from/phone/app}}}`
	post := readPost(b)
	platform := []byte(strings.NewReplacer(`"id":"p-`, `"pid":"p-`, `"time"`, `"created_at"`, `"user":{"id"`, `"author":{"uid"`, `"group"`, `"age"`, `"verified"`, `"real"`,
		`"operation"`, `"type"`, `"fields"`, `"content"`, `"body"`, `"text"`, `"client"`, `"from"`, `"address"`, `"ip"`, `"device"`, `"phone"`).Replace(string(post)))
	for _, c := range []struct {
		name, layout string
		post         []byte
	}{{"same", same, post}, {"own", own, platform}} {
		b.Run(c.name, func(b *testing.B) {
			plain, mapped := NewDecoder(DefaultConfig()), reader(b, Post, c.layout)
			var e Event
			turn := func(d *Decoder, post []byte) time.Duration {
				began := time.Now()
				for range 1000 {
					if err := d.Decode(Post, nil, post, &e); err != nil {
						b.Fatal(err)
					}
				}
				d.Reset()
				return time.Since(began)
			}
			var of [2]time.Duration
			b.ReportAllocs()
			for b.Loop() {
				of[0] += turn(plain, post)
				of[1] += turn(mapped, c.post)
			}
			b.ReportMetric(float64(of[1].Nanoseconds())/1000/float64(b.N), "ns/mapped")
			b.ReportMetric(float64(of[1])/float64(of[0]), "x-plain")
		})
	}
}

// What a program that uses encoding/json would declare for a post.
type naive struct {
	ID   string    `json:"id"`
	Kind string    `json:"kind"`
	Time time.Time `json:"time"`
	User struct {
		ID       string `json:"id"`
		Group    string `json:"group"`
		Verified bool   `json:"verified"`
	} `json:"user"`
	Operation string            `json:"operation"`
	Fields    map[string]string `json:"fields"`
	Client    struct {
		Address string `json:"address"`
		Port    uint16 `json:"port"`
		Device  struct {
			Model string `json:"model"`
			OS    string `json:"os"`
			ID    string `json:"id"`
			App   string `json:"app"`
		} `json:"device"`
	} `json:"client"`
}

// Baseline: encoding/json, which loses the order of the fields and lets
// duplicates, invalid UTF-8 and lone surrogates pass.
func BenchmarkDecodeEncodingJSON(b *testing.B) {
	post := readPost(b)
	b.SetBytes(int64(len(post)))
	b.ReportAllocs()
	for b.Loop() {
		d := json.NewDecoder(bytes.NewReader(post))
		d.DisallowUnknownFields()
		var e naive
		if err := d.Decode(&e); err != nil {
			b.Fatal(err)
		}
	}
}

// Baseline: a hand-written reader over the tokens of jsontext, which is as
// strict about JSON; it looks at less of what the post says.
func BenchmarkDecodeJSONText(b *testing.B) {
	post := readPost(b)
	var r bytes.Reader
	d := jsontext.NewDecoder(&r)
	b.SetBytes(int64(len(post)))
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(post)
		d.Reset(&r)
		var e naive
		if err := e.read(d); err != nil {
			b.Fatal(err)
		}
	}
}

func (e *naive) read(d *jsontext.Decoder) error {
	word := func(to *string) error {
		tok, err := d.ReadToken()
		*to = tok.String()
		return err
	}
	object := func(member func(name string) error) error {
		if _, err := d.ReadToken(); err != nil {
			return err
		}
		for d.PeekKind() != '}' {
			name, err := d.ReadToken()
			if err != nil {
				return err
			}
			if err := member(name.String()); err != nil {
				return err
			}
		}
		_, err := d.ReadToken()
		return err
	}
	unknown := errors.New("unknown name")
	return object(func(name string) error {
		switch name {
		case "id":
			return word(&e.ID)
		case "kind":
			return word(&e.Kind)
		case "operation":
			return word(&e.Operation)
		case "time":
			var s string
			if err := word(&s); err != nil {
				return err
			}
			var err error
			e.Time, err = time.Parse(time.RFC3339Nano, s)
			return err
		case "user":
			return object(func(name string) error {
				switch name {
				case "id":
					return word(&e.User.ID)
				case "group":
					return word(&e.User.Group)
				case "verified":
					tok, err := d.ReadToken()
					e.User.Verified = tok.Kind() == 't'
					return err
				}
				return unknown
			})
		case "fields":
			e.Fields = map[string]string{}
			return object(func(name string) error {
				var s string
				err := word(&s)
				e.Fields[name] = s
				return err
			})
		case "client":
			return object(func(name string) error {
				switch name {
				case "address":
					return word(&e.Client.Address)
				case "port":
					tok, err := d.ReadToken()
					if err != nil {
						return err
					}
					port, err := tok.Uint()
					e.Client.Port = uint16(port)
					return err
				case "device":
					return object(func(name string) error {
						switch name {
						case "model":
							return word(&e.Client.Device.Model)
						case "os":
							return word(&e.Client.Device.OS)
						case "id":
							return word(&e.Client.Device.ID)
						case "app":
							return word(&e.Client.Device.App)
						}
						return unknown
					})
				}
				return unknown
			})
		}
		return unknown
	})
}
