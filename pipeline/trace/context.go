// Package trace is how a message's trace goes through Weir: its W3C Trace Context is read
// from the message's headers and passed on to everything the message causes, and, where
// tracing is on, each flagged message has a span that links to whoever produced it.
//
// What it is not: a way into Weir for other spans. Messages that pass have none, and without
// a collector in the configuration there are none at all; the headers are passed on all the
// same. The one thing to know: nothing here waits. Spans that the collector does not take fast
// enough are dropped and counted.
package trace

import (
	"encoding/hex"

	"github.com/weir-moderation/weir/pipeline/event"
)

// The headers of W3C Trace Context. In Kafka their names are written in lower case.
const (
	parentHeader = "traceparent"
	stateHeader  = "tracestate"
)

// The form of a traceparent: 00-<trace, 32 digits>-<span, 16 digits>-<flags, 2 digits>.
const (
	parentLength = 55
	traceAt      = 3
	spanAt       = 36
	flagsAt      = 53
)

const (
	// maxParent bounds a traceparent of a later version, which may be longer.
	maxParent = 512
	// maxState is how long a tracestate may be to be passed on; the specification asks for no more.
	maxState = 512
	// maxStates is how many members a tracestate may have, by the specification.
	maxStates = 32
)

// Context is the W3C Trace Context of a message: the zero one if it came with none that is
// well-formed. It borrows the bytes of the message.
type Context struct{ parent, state []byte }

// Of finds the context among the headers of a message. What is malformed is left out, as the
// specification wants: a traceparent and all with it, a tracestate alone. So is a traceparent that
// is there twice, since nobody knows which is meant.
func Of(headers []event.Header) Context {
	var c Context
	parents, states := 0, 0
	for i := range headers {
		switch headers[i].Key {
		case parentHeader:
			c.parent = headers[i].Value
			parents++
		case stateHeader:
			c.state = headers[i].Value
			states++
		}
	}
	if parents != 1 || !isParent(c.parent) {
		return Context{}
	}
	if states != 1 || !isState(c.state) {
		c.state = nil
	}
	return c
}

// Known reports whether there is a context.
func (c Context) Known() bool { return c.parent != nil }

// Sampled reports whether who produced the message records its part of the trace.
func (c Context) Sampled() bool { return c.parent != nil && digit(c.parent[flagsAt+1])&1 == 1 }

// ID returns the name of the trace, 32 hex digits; empty if there is no context.
func (c Context) ID() string {
	if c.parent == nil {
		return ""
	}
	return string(c.parent[traceAt : traceAt+32])
}

// span returns the name of the producer's span, 16 hex digits.
func (c Context) span() string { return string(c.parent[spanAt : spanAt+16]) }

// Headers returns the context as headers of what the message causes.
func (c Context) Headers() []event.Header {
	if c.parent == nil {
		return nil
	}
	list := []event.Header{{Key: parentHeader, Value: c.parent}}
	if c.state != nil {
		list = append(list, event.Header{Key: stateHeader, Value: c.state})
	}
	return list
}

// IsHeader reports whether a header of this name is part of a context.
func IsHeader(name string) bool { return name == parentHeader || name == stateHeader }

// isParent reports whether a traceparent is well-formed. Those of later versions begin with the
// fields of the first one and may go on after a dash.
func isParent(b []byte) bool {
	if len(b) < parentLength || len(b) > maxParent || b[2] != '-' || b[spanAt-1] != '-' || b[flagsAt-1] != '-' {
		return false
	}
	version := b[:2]
	switch {
	case !isHex(version) || string(version) == "ff":
		return false
	case string(version) == "00" && len(b) != parentLength:
		return false
	case len(b) > parentLength && b[parentLength] != '-':
		return false
	}
	trace, span := b[traceAt:traceAt+32], b[spanAt:spanAt+16]
	return isHex(trace) && !isZero(trace) && isHex(span) && !isZero(span) && isHex(b[flagsAt:flagsAt+2])
}

// isState reports whether a tracestate is well-formed: up to 32 members key=value, divided by commas,
// no key twice; members may be empty.
func isState(b []byte) bool {
	if len(b) == 0 || len(b) > maxState {
		return false
	}
	var keys [maxStates]string
	n := 0
	for len(b) > 0 {
		member := b
		b = nil
		for i, c := range member {
			if c == ',' {
				member, b = member[:i], member[i+1:]
				break
			}
		}
		member = trimSpace(member)
		if len(member) == 0 {
			continue
		}
		key, ok := stateKey(member)
		if !ok || n == maxStates {
			return false
		}
		for _, k := range keys[:n] {
			if k == string(key) {
				return false
			}
		}
		keys[n] = string(key)
		n++
	}
	return n > 0
}

// stateKey returns the key of a member of a tracestate that is well-formed.
func stateKey(member []byte) ([]byte, bool) {
	const maxKey, maxValue = 256, 256
	n := 0
	for n < len(member) && member[n] != '=' {
		c := member[n]
		lower, number := 'a' <= c && c <= 'z', '0' <= c && c <= '9'
		if !lower && !number && (n == 0 || c != '_' && c != '-' && c != '*' && c != '/' && c != '@') {
			return nil, false
		}
		n++
	}
	if n == 0 || n > maxKey || n == len(member) {
		return nil, false
	}
	value := member[n+1:]
	if len(value) == 0 || len(value) > maxValue {
		return nil, false
	}
	for _, c := range value {
		if c < ' ' || c > '~' || c == '=' {
			return nil, false
		}
	}
	return member[:n], true
}

// trimSpace takes spaces and tabs from both ends.
func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

func isHex(b []byte) bool {
	for _, c := range b {
		if ('0' > c || c > '9') && ('a' > c || c > 'f') {
			return false
		}
	}
	return true
}

func isZero(digits []byte) bool {
	for _, c := range digits {
		if c != '0' {
			return false
		}
	}
	return true
}

// digit returns the value of a hex digit.
func digit(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'a' + 10
}

// fill reads hex digits, which are well-formed.
func fill(to []byte, digits string) { _, _ = hex.Decode(to, []byte(digits)) }
