package demo

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// startRedis starts the embedded Redis on a free loopback port.
func startRedis() (*miniredis.Miniredis, error) {
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("start the embedded redis: %w", err)
	}
	// Each is a run of its own, as with a real one.
	m.Server().SetPreHook(infoOf(rand.Text()))
	return m, nil
}

// infoOf answers what the embedded Redis itself does not know: the sections of
// INFO by which the daemon makes sure that Redis never throws away a send log for
// lack of memory, and is the one it was. The answers are true: the embedded one
// never evicts, and whatever it knew is gone with it.
func infoOf(run string) server.Hook {
	return func(c *server.Peer, cmd string, args ...string) bool {
		if !strings.EqualFold(cmd, "INFO") || len(args) == 0 {
			return false // without a section, miniredis has something of its own to say
		}
		return answerInfo(c, run, args)
	}
}

func answerInfo(c *server.Peer, run string, args []string) bool {
	var b strings.Builder
	for _, section := range args {
		switch strings.ToLower(section) {
		case "memory":
			b.WriteString("# Memory\r\nmaxmemory:0\r\nmaxmemory_human:0B\r\nmaxmemory_policy:noeviction\r\n")
		case "server":
			b.WriteString("# Server\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\nrun_id:" + run + "\r\n")
		case "replication":
			b.WriteString("# Replication\r\nrole:master\r\nconnected_slaves:0\r\nmaster_replid:" + run + "\r\n")
		case "persistence":
			b.WriteString("# Persistence\r\nloading:0\r\naof_enabled:0\r\n")
		default:
			return false
		}
	}
	c.WriteBulk(b.String())
	return true
}

// keepTime lets time pass where nothing does it by itself: keys of the embedded
// Redis do not expire without being told how long it has been, and the embedded
// broker keeps every byte until it is told to tidy up.
func (w *World) keepTime(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last, tidied := time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		// Read the clock rather than count ticks: a laptop that slept has missed many.
		now := time.Now()
		w.redis.FastForward(now.Sub(last))
		last = now
		if now.Sub(tidied) >= 15*time.Second {
			w.broker.Compact() // and drops what is beyond retainBytes
			tidied = now
		}
		w.lookAtProgress(ctx)
	}
}
