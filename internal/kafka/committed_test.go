package kafka

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// How far a group has come is told for every partition it has committed something of.
func TestCommitted(t *testing.T) {
	e := setup(t, 1)
	a, b, group := e.topic(3), e.topic(1), unique("group")
	if a > b {
		a, b = b, a
	}
	e.produce(a, 0, numbered(0, 5)...)
	e.commit(group, a, 0, 4)
	e.commit(group, b, 0, 0)
	e.commit(unique("other"), a, 0, 2)
	got, err := e.client.Committed(e.context(), group)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Committed{{a, 0, 4}, {b, 0, 0}}, got); diff != "" {
		t.Error(diff)
	}
	if got, err = e.client.Committed(e.context(), unique("nobody")); err != nil || got != nil {
		t.Errorf("of a group that nobody has heard of: %v, %v", got, err)
	}
}

// A coordinator that moves or loads is waited for; one that refuses is not, and says why.
func TestCommittedOfABusyCoordinator(t *testing.T) {
	e := setupFake(t, 1)
	topic, group := e.topic(1), unique("group")
	e.commit(group, topic, 0, 7)
	codes := []int16{kerr.CoordinatorLoadInProgress.Code, kerr.NotCoordinator.Code, kerr.UnstableOffsetCommit.Code}
	answer := func(r kmsg.Request, code int16) kmsg.Response {
		resp := r.ResponseKind().(*kmsg.OffsetFetchResponse)
		resp.Version, resp.ErrorCode = r.GetVersion(), code
		return resp
	}
	e.fake.ControlKey(int16(kmsg.OffsetFetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		if len(codes) == 0 {
			return nil, nil, false
		}
		e.fake.KeepControl()
		code := codes[0]
		codes = codes[1:]
		return answer(r, code), nil, true
	})
	got, err := e.client.Committed(e.context(), group)
	if err != nil || len(codes) > 0 || len(got) != 1 || got[0].Offset != 7 {
		t.Errorf("%v, %v; %d answers left", got, err, len(codes))
	}
	e.fake.ControlKey(int16(kmsg.OffsetFetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		return answer(r, kerr.GroupAuthorizationFailed.Code), nil, true
	})
	if _, err := e.client.Committed(e.context(), group); err == nil || !strings.Contains(err.Error(), "ask for the committed offsets of group "+group) {
		t.Errorf("a group that is none of ours: %v", err)
	}
}
