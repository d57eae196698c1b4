package anchor

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// By default nothing is on, and everything that can be on is taken.
func TestConfigThatIsRight(t *testing.T) {
	c := DefaultConfig()
	if err := c.Validate(); err != nil || c.NeedsTopic() {
		t.Errorf("default: %v, needs a topic: %v", err, c.NeedsTopic())
	}
	w, _ := newWitness(t)
	c = Config{Every: time.Minute, Heartbeat: time.Minute, UnpublishedLimit: time.Minute, Peers: []string{"http://weir-1:9090", "https://10.0.0.1/base"},
		Witness:   WitnessConfig{URL: "https://w.example/x", VerifierKey: w.vkey(), Every: time.Second},
		Timestamp: TimestampConfig{URL: "http://t.example", CAFile: "tsa.pem", Every: time.Hour}}
	if err := c.Validate(); err != nil || !c.NeedsTopic() {
		t.Errorf("all: %v, needs a topic: %v", err, c.NeedsTopic())
	}
}

// Everything wrong is told at once, each with its field and what would be right.
func TestConfigThatIsWrong(t *testing.T) {
	c := Config{Heartbeat: time.Millisecond, UnpublishedLimit: time.Second, Peers: []string{"weir-1:9090", "http://u@h"},
		Witness: WitnessConfig{URL: "x", VerifierKey: "x"}, Timestamp: TimestampConfig{URL: "ftp://x"}}
	want := []string{
		"unpublished_limit: 1s; use at least 5s, or 0s to turn it off",
		"heartbeat: 1ms; use at least 1s, or 0s to turn it off",
		`peers[0]: "weir-1:9090" is no address of an admin listener; write it like http://weir-1:9090`,
		`peers[1]: "http://u@h" is no address of an admin listener; write it like http://weir-1:9090`,
		"peers: proofs are asked for when heads are put on record, and every is 0s; set every, such as 1m",
		"witness.url: not a URL; write it like https://witness.example.org/weir",
		"witness.verifier_key: not the key of an Ed25519 cosigner; it is one line of the form <name>+<hash>+<key>, as the witness publishes it",
		"witness.every: 0s; use at least 1s",
		"timestamp.url: not a URL; write it like https://tsa.example.org/",
		"timestamp.ca_file: empty; name the file of certificates that the authority's own must come from",
		"timestamp.every: 0s; use at least 1m0s",
	}
	if diff := cmp.Diff(want, strings.Split(c.Validate().Error(), "\n")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
