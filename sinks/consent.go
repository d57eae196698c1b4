package sinks

import (
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// consentBody is the body of a consent record: all of what a user has agreed to
// and wishes, as one message of consent tells it. The decisions on the user's pushes
// name its version. It knows the user by the name in Redis, which those have, too.
//
// The topic of consent is compacted: of older versions this is what is left.
//
// Clause: push-inform
// Which text the user was shown is part of the record of their consent.
type consentBody struct {
	EventID      string  `json:"event_id"`
	Time         string  `json:"time"`
	Version      uint64  `json:"version"`
	Group        string  `json:"group,omitempty"`
	Zone         string  `json:"zone,omitempty"`
	Quiet        string  `json:"quiet,omitempty"`
	DailyMax     *int    `json:"daily_max,omitempty"`
	Grants       []grant `json:"grants"`
	Pseudonym    string  `json:"pseudonym"`
	PseudonymKey string  `json:"pseudonym_key"`
	Origin       origin  `json:"origin"`
	// Original is the message by its length and SHA-256; it names the user.
	Original original `json:"original"`
	// Reduced says that the grants were left out, because no record holds so many.
	Reduced bool `json:"reduced,omitempty"`
}

// grant is consent given or taken back for one class on one channel.
type grant struct {
	Class       string `json:"class"`
	Channel     string `json:"channel"`
	Granted     bool   `json:"granted"`
	Time        string `json:"time"`
	Method      string `json:"method,omitempty"`
	TextVersion string `json:"text_version,omitempty"`
}

func consentRecord(c *pipeline.ConsentChange) (evidence.Record, error) {
	e := c.Event
	body := consentBody{
		EventID: string(e.ID), Time: stamp(e.Time), Version: e.Consent.Version,
		Group: string(e.User.Group), Zone: string(e.Consent.Zone), Quiet: string(e.Consent.Quiet),
		Grants:    make([]grant, len(e.Consent.Grants)),
		Pseudonym: c.Pseudonym, PseudonymKey: c.PseudonymKey,
		Origin: originOf(c.Origin, c.Record), Original: originalOf(c.Record.Value, false),
	}
	if e.Consent.DailyMax >= 0 {
		body.DailyMax = &e.Consent.DailyMax
	}
	for i := range e.Consent.Grants {
		g := &e.Consent.Grants[i]
		body.Grants[i] = grant{string(g.Class), string(g.Channel), g.Granted, stamp(g.Time), string(g.Method), string(g.TextVersion)}
	}
	r, err := record(evidence.ID(c.ID), evidence.KindConsent, evidence.ClassPush, body)
	if err == nil && len(r.Body) > evidence.MaxBodyBytes {
		body.Grants, body.Reduced = []grant{}, true
		r, err = record(evidence.ID(c.ID), evidence.KindConsent, evidence.ClassPush, body)
	}
	return r, err
}
