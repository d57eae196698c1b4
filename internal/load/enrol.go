package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/weir-moderation/weir/internal/kafka/produce"
)

// enrol writes what the users have agreed to and waits until the daemon has taken it up:
// without it every push that needs consent would be denied, which costs less than it does
// in earnest. Three in four take news, two in three offers; the time of their consent is
// their version, so that a later run goes before.
func (r *run) enrol(ctx context.Context) error {
	chance := rand.New(rand.NewPCG(r.Mix.Seed, 0x656e726f)) // not for secrets
	now := time.Now()
	var p parcel
	for n := range uint64(r.Mix.Users) {
		user := userName(n)
		p.messages = append(p.messages, produce.Message{Topic: r.consent, Key: []byte(user), Value: consent(user, now, chance.IntN(4) > 0, chance.IntN(3) > 0)})
		if len(p.messages) == callMessages || n == uint64(r.Mix.Users-1) {
			if err := r.produce(ctx, &p); err != nil {
				return err
			}
			p.messages = p.messages[:0]
			r.told("sent, enrolling users")
		}
	}
	open, err := r.drain(ctx, []string{r.consent})
	if err == nil && open > 0 {
		err = fmt.Errorf("the group %s does not read %s: %d changes of consent are not taken up; is a daemon running?", r.Config.Input.Group, r.consent, open)
	}
	return err
}

// consent is the whole state of one user.
func consent(user string, now time.Time, content, marketing bool) []byte {
	at := now.UTC().Format(timeLayout)
	b := fmt.Appendf(nil, `{"id":"load-consent-%s-%d","time":"%s","user":{"id":"%s"},"version":%d,"zone":"UTC","grants":[`, user, now.UnixMilli(), at, user, now.UnixMilli())
	for i, g := range []struct {
		class   string
		granted bool
	}{{"content", content}, {"marketing", marketing}} {
		for j, channel := range []string{"app", "sms"} {
			if i+j > 0 {
				b = append(b, ',')
			}
			b = fmt.Appendf(b, `{"class":"%s","channel":"%s","granted":%t,"time":"%s","method":"settings","text_version":"load"}`, g.class, channel, g.granted, at)
		}
	}
	return append(b, "]}"...)
}
