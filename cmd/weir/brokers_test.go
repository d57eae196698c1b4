package main

import (
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// testBrokers returns the cluster that WEIR_TEST_KAFKA names, or an embedded broker.
func testBrokers(t testing.TB, o ...kfake.Opt) (brokers []string, embedded bool) {
	t.Helper()
	if a := os.Getenv("WEIR_TEST_KAFKA"); a != "" {
		return strings.Split(a, ","), false
	}
	return embeddedBroker(t, o...).ListenAddrs(), true
}

// embeddedBroker starts one for as long as the test runs.
func embeddedBroker(t testing.TB, o ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append(o, kfake.NumBrokers(1))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
