package rules

import (
	"strings"
	"testing"
)

func TestShare(t *testing.T) {
	for text, want := range map[string]Share{
		"0%": 0, "0.0001%": 1, "0.02%": 200, "0.1%": 1000, "0.10%": 1000, "1%": 10_000, "12.5%": 125_000, "100%": 1_000_000, "100.0000%": 1_000_000,
	} {
		var s Share
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s is %d, %v; want %d", text, s, err, want)
			continue
		}
		var again Share
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s || len(s.String()) > len(text) {
			t.Errorf("%s is written %s, which is %d, %v", text, s, again, err)
		}
	}
	for _, text := range []string{"", "%", "0.1", "1", ".1%", "1.%", "0.00001%", "-1%", "+1%", "100.0001%", "101%", "1000%", "1e1%", " 1%", "1 %", "1%%", "１%", "0,1%"} {
		s := Share(7)
		if err := s.UnmarshalText([]byte(text)); err == nil || s != 7 || !strings.Contains(err.Error(), "such as 0.1%") {
			t.Errorf("%q is %d, %v; want it refused", text, s, err)
		}
	}
}

// A share is rounded up to whole posts; what is measured to the nearest millionth.
func TestShareOfPosts(t *testing.T) {
	for _, test := range []struct {
		share   Share
		n, want int
	}{
		{0, 1_000_000, 0}, {Percent, 0, 0}, {200, 1, 1}, {200, 1200, 1}, {200, 5000, 1}, {200, 5001, 2}, {1000, 1000, 1}, {1000, 1001, 2},
		{100 * Percent, 7, 7}, {100 * Percent, 1 << 30, 1 << 30},
	} {
		if got := test.share.of(test.n); got != test.want {
			t.Errorf("%s of %d is %d, want %d", test.share, test.n, got, test.want)
		}
	}
	for _, test := range []struct {
		some, n int
		want    string
	}{{0, 3, "0%"}, {1, 3, "33.3333%"}, {2, 3, "66.6667%"}, {3, 3, "100%"}, {2, 1013, "0.1974%"}} {
		if got := shareOf(test.some, test.n).String(); got != test.want {
			t.Errorf("%d of %d are %s, want %s", test.some, test.n, got, test.want)
		}
	}
}
