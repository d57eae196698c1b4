package app_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

var example = regexp.MustCompile("(?s)```sh\n(.*?)```\n\n```json\n(.*?)```")

// The examples of docs/api.md do what they say: each command is run by a shell against a daemon as weir demo
// starts it, and answers as shown. An ellipsis stands for whatever it is.
func TestExamplesOfTheAPI(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	d := startDemo(t)
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	url := strings.TrimSuffix(regexp.MustCompile(`http://[0-9.:]+/v1/judge`).FindString(d.status.String()), "/v1/judge")
	found := example.FindAllStringSubmatch(string(text), -1)
	if len(found) != 4 {
		t.Fatalf("%d examples, want 4", len(found))
	}
	for _, e := range found {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", e[1])
		cmd.Env = append(os.Environ(), "API="+url, "TOKEN=none", "no_proxy=127.0.0.1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", e[1], err, out)
			continue
		}
		var want, got any
		if err := json.Unmarshal([]byte(e[2]), &want); err != nil {
			t.Errorf("%s: %v", e[2], err)
		}
		if err := json.Unmarshal(out, &got); err != nil {
			t.Errorf("%s: %v", out, err)
		}
		if at := differ("", want, got); at != "" {
			t.Errorf("%s\nanswers\n%s\nand not as shown: %s", e[1], out, at)
		}
	}
	d.stop(t)
}

// differ says where two values are not the same, "" if they are.
func differ(at string, want, got any) string {
	if want == "…" && got != nil {
		return ""
	}
	switch want := want.(type) {
	case map[string]any:
		got, _ := got.(map[string]any)
		for name := range got {
			if _, ok := want[name]; !ok {
				return at + "." + name + " is not shown"
			}
		}
		for name := range want {
			if where := differ(at+"."+name, want[name], got[name]); where != "" {
				return where
			}
		}
		return ""
	case []any:
		got, _ := got.([]any)
		if len(got) != len(want) {
			return fmt.Sprintf("%s has %d, shown are %d", at, len(got), len(want))
		}
		for i := range want {
			if where := differ(fmt.Sprintf("%s[%d]", at, i), want[i], got[i]); where != "" {
				return where
			}
		}
		return ""
	}
	if want != got {
		return fmt.Sprintf("%s is %v", at, got)
	}
	return ""
}
