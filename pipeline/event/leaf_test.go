package event

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Where parseTime accepts, time.Parse reads the same instant.
func FuzzTime(f *testing.F) {
	for _, s := range []string{"2026-11-24T08:30:00Z", "2026-11-24T16:30:00.123456789+08:00", "2028-02-29T23:59:59.5-00:30", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2016-12-31T23:59:60Z"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := parseTime(b)
		if !ok {
			return
		}
		want, err := time.Parse(time.RFC3339Nano, string(b))
		if err != nil || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("%q: got %v, want %v, %v", b, got, want, err)
		}
		if y := got.Year(); y < 1970 || y > 9999 {
			t.Errorf("%q: %v", b, got)
		}
	})
}

// Every day there is is read, and none there is not.
func TestEveryDay(t *testing.T) {
	for year := 1970; year <= 2100; year++ {
		for month := range 14 {
			for day := range 33 {
				text := fmt.Sprintf("%04d-%02d-%02dT12:00:00Z", year, month, day)
				got, ok := parseTime([]byte(text))
				want, err := time.Parse(time.RFC3339, text)
				if ok != (err == nil) || ok && got != want {
					t.Fatalf("%s: %v, %v, want %v, %v", text, got, ok, want, err)
				}
			}
		}
	}
}

// isAddress and netip accept the same texts, but for zones.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"203.0.113.7", "255.255.255.255", "::", "::1", "1::", "2001:db8::a:0", "1:2:3:4:5:6:7:8", "::ffff:203.0.113.7", "1:2:3:4:5:6:1.2.3.4", "fe80::1%eth0", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::1.2.3.4", "01.2.3.4"} {
		f.Add([]byte(s))
	}
	f.Fuzz(sameAddress)
}

func sameAddress(t *testing.T, b []byte) {
	a, err := netip.ParseAddr(string(b))
	if got, want := isAddress(b), err == nil && a.Zone() == ""; got != want {
		t.Errorf("%q: got %v, netip %v, %v", b, got, a, err)
	}
}

// The same for every text of a few parts addresses are made of.
func TestAddressParts(t *testing.T) {
	parts := []string{"", ":", "::", ".", "0", "f", "1.2.3.4", "1:2:3", "1:2:3:4:5:6:7", "12345", "256", "1.2", "%e"}
	var build func(text string, n int)
	build = func(text string, n int) {
		sameAddress(t, []byte(text))
		if n == 0 {
			return
		}
		for _, p := range parts[1:] {
			build(text+p, n-1)
		}
	}
	build("", 4)
}

// Numbers by which a person is known are told from ids that only look long.
func TestPersonalNumbers(t *testing.T) {
	for id, want := range map[string]bool{
		// Identity cards: the example of GB 11643 and others with a right check digit.
		"11010519491231002X":    true,
		"11010519491231002x":    true,
		"440524188001010014":    false, // born 1880: before all living
		"110105 19491231 002X":  true,
		"110105-19491231-002-X": true,
		"110105194912310021":    false, // wrong check digit
		"11010519491331002X":    false, // thirteenth month
		"00010519491231002X":    false, // no such province
		"110105491231002":       true,  // the old form
		"110105491331002":       false,
		"990105491231002":       false,
		"810000199408230021":    true, // a residence permit for Hong Kong residents

		// Telephones.
		"13812345678":       true,
		"138 1234 5678":     true,
		"138-1234-5678":     true,
		"+8613812345678":    true,
		"+86 138 1234 5678": true,
		"8613812345678":     true,
		"008613812345678":   true,
		"19912345678":       true,
		"+14155552671":      true,
		"+442071838750":     true,

		// Ids.
		"":                                     false,
		"u1":                                   false,
		"u13812345678":                         false,
		"12812345678":                          false,
		"1381234567":                           false,
		"138123456789":                         false,
		"42":                                   false,
		"1234567890":                           false,
		"7318349394477056":                     false, // snowflakes
		"175928847299117063":                   false,
		"1541815603606036480":                  false,
		"123456789012345":                      false,
		"2026112408300012":                     false,
		"f47ac10b-58cc-4372-a567-0e02b2c3d479": false,
		"11010519491231002X@town":              false,
		"+":                                    false,
		"+abc":                                 false,
		"----------------------":               false,
		"1381234567X":                          false,
		strings.Repeat("1", 200):               false,
	} {
		if got := isPersonalNumber([]byte(id)); got != want {
			t.Errorf("%q: got %v", id, got)
		}
	}
}

// The first two digits of an identity card are those of GB/T 2260.
func TestProvinces(t *testing.T) {
	var got []int
	for code := range 100 {
		if isProvince(code) {
			got = append(got, code)
		}
	}
	want := []int{
		11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52, 53, 54, 61, 62, 63, 64, 65,
		71, 81, 82, 83, 91, // Taiwan, Hong Kong, Macau, and residents from there and abroad
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Of sequential ids with as many digits as an identity card nearly none is
// taken for one.
func TestPersonalNumbersAreRare(t *testing.T) {
	hits := 0
	const n = 1_000_000
	for i := range n {
		id := fmt.Appendf(nil, "%018d", 170_000_000_000_000_000+i*11_234_567_891)
		if isPersonalNumber(id) {
			hits++
		}
	}
	if hits > n/10_000 {
		t.Errorf("%d of %d", hits, n)
	}
}

// Nothing of an event gets into a log or a text, even if somebody puts it there.
func TestNoContentInLogs(t *testing.T) {
	var e Event
	if err := NewDecoder(Config{}).Decode(Post, nil, []byte(plainPost), &e); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&buf, nil))
	log.Info("x", "event", e, "pointer", &e)
	fmt.Fprintf(&buf, "%v %+v %s %v", e, e, e, &e)
	for _, content := range []string{"text", "u1", "p1", "body"} {
		asBytes := fmt.Sprintf("%d", []byte(content))
		if strings.Contains(buf.String(), content) || strings.Contains(buf.String(), asBytes) {
			t.Errorf("%q is in %s", content, &buf)
		}
	}
	if !strings.Contains(buf.String(), `"event":"post","pointer":"post"`) {
		t.Errorf("got %s", &buf)
	}
}

// Every kind has a word that leads back to it.
func TestKinds(t *testing.T) {
	for k := Post; k <= Halt; k++ {
		if got, ok := ParseKind(k.String()); !ok || got != k {
			t.Errorf("%v: got %v, %v", k, got, ok)
		}
	}
	for _, s := range []string{"", "Post", "invalid", "posts"} {
		if k, ok := ParseKind(s); ok {
			t.Errorf("%q: got %v", s, k)
		}
	}
	if got := Kind(99).String(); got != "invalid" {
		t.Errorf("got %q", got)
	}
}

// All limits out of range are reported at once, each by its name.
func TestValidate(t *testing.T) {
	c := DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Errorf("default: %v", err)
	}
	c = Config{MaxBytes: 10, MaxDepth: 3, MaxFields: 5000, MaxItems: -1, MaxWordBytes: 0}
	want := `max_bytes: 10 is out of range; choose from 1024 to 67108864
max_depth: 3 is out of range; choose from 4 to 1000
max_fields: 5000 is out of range; choose from 1 to 4096
max_items: -1 is out of range; choose from 1 to 1024
max_word_bytes: 0 is out of range; choose from 64 to 4096`
	if err := c.Validate(); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
