package sinks

import (
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/body"
)

// consentRecord makes the record of a change of consent: all of what a user has
// agreed to and wishes, as one message of consent tells it. The decisions on the
// user's pushes name its version. It knows the user by the name in Redis, which
// those have, too.
//
// The topic of consent is compacted: of older versions this is what is left.
//
// Clause: push-inform
// Which text the user was shown is part of the record of their consent.
func consentRecord(c *pipeline.ConsentChange) (evidence.Record, error) {
	r := evidence.Record{ID: evidence.ID(c.ID), Kind: evidence.KindConsent, Class: evidence.ClassPush, Encoding: evidence.EncodingProtobuf}
	e := c.Event
	var origin originBody
	var original originalBody
	var pseudonym pseudonymBody
	b := body.Consent{
		EventId: utf8Text(e.ID), Version: e.Consent.Version,
		Group: utf8Text(e.User.Group), Zone: utf8Text(e.Consent.Zone), Quiet: utf8Text(e.Consent.Quiet),
		Grants: make([]*body.Grant, len(e.Consent.Grants)),
		Origin: origin.of(c.Origin, c.Record), Original: original.of(c.Record.Value, false),
	}
	b.Time, b.TimeNs = seconds(e.Time)
	if most := count(e.Consent.DailyMax); e.Consent.DailyMax >= 0 {
		b.DailyMax = &most
	}
	for i := range e.Consent.Grants {
		g := &e.Consent.Grants[i]
		b.Grants[i] = &body.Grant{Class: utf8Text(g.Class), Channel: utf8Text(g.Channel), Granted: g.Granted, Method: utf8Text(g.Method), TextVersion: utf8Text(g.TextVersion)}
		b.Grants[i].Time, b.Grants[i].TimeNs = seconds(g.Time)
	}
	var err error
	if b.Pseudonym, b.PseudonymKey, err = pseudonym.of(c.Pseudonym, c.PseudonymKey); err != nil {
		return r, err
	}
	r.Body, err = body.Encode(&b)
	if err == nil && len(r.Body) > evidence.MaxBodyBytes {
		b.Grants, b.Reduced = nil, true
		r.Body, err = body.Encode(&b)
	}
	r.Terms = []evidence.Term{{Name: "event", Value: b.EventId}}
	pseudonymous(&r, c.Pseudonym)
	return r, err
}
