// Package condition is the `when` of a rule: an expression in CEL, the Common
// Expression Language (https://cel.dev), about an event and what a rule hit in
// it:
//
//	when: event.user.group == "minor" && hits.distinct >= 2
//
// [Compile] reads it when a set is loaded and refuses whatever could only go
// wrong later: a misspelt name, a comparison of different types, a pattern or a
// time zone that is none, an expression that would cost too much. [Condition.Eval]
// answers it for one event, after the rule's terms have hit. What the package is
// not: it finds nothing in a text and knows no rules.
//
// The one thing to know: an answer depends on the event and its hits only. There
// is no clock, nothing outside is asked, and the work is bounded by [CostLimit].
// When there is no answer Eval says so; the caller lets the hit stand.
//
// # Variables
//
// What an event does not tell is "", false or an empty list, never missing: a
// push's class is "" in a post, and event.fields["title"] is "" where there is no
// title.
//
//	event.kind                     string              post or push
//	event.time                     timestamp           when it happened on the platform
//	event.operation                string              post.create, comment, profile.update, push.send, ...
//	event.user.group               string              default, minor, elderly, ...
//	event.user.verified            bool                the platform knows who the user is
//	event.fields                   map(string, string) the texts by the names of their fields
//	event.attachments              list                the files that came with it; ask with exists, all or filter
//	event.attachments[].media_type string              such as image/png
//	event.attachments[].scan       string              what a virus scanner said: clean, infected, unscanned, ...
//	event.client.device.model      string              the client's hardware
//	event.client.device.os         string              its system
//	event.client.device.app        string              the application and its version
//	event.push.class               string              the push's class in the push policy
//	event.push.channel             string              app, sms, email, popup
//	event.push.campaign            string              the campaign it belongs to
//	event.push.sender              string              who sends it
//	event.push.label               string              the advertising label shown to the user
//	event.push.personalised        bool                it was chosen for this user
//	hits.count                     int                 hits of the rule in the event
//	hits.distinct                  int                 different terms among them
//	hits.sure                      int                 hits not of low confidence: not by sound or by shape alone
//	hits.fields                    list(string)        names of the fields that were hit
//	hits.forms                     list(string)        forms that hits took: fold, squeeze, pinyin, ...
//
// There is no user id, address or id of an event: a rule that names one person or
// one message is no rule.
//
// # Language
//
//	! && || ?:                    logic
//	== != < <= > >=               comparison of two values of one type
//	+ - * / %                     whole numbers
//	in                            "title" in hits.fields, "text" in event.fields, event.user.group in ["minor", "elderly"]
//	size(x)                       characters of a string, members of a list or map
//	contains startsWith endsWith  event.fields["title"].contains("VX")
//	matches                       event.client.device.app.matches("^shop/[12]\\.") with a pattern in RE2 syntax
//	exists all exists_one filter  event.attachments.exists(a, a.scan == "infected")
//	timestamp                     event.time >= timestamp("2026-10-01T00:00:00+08:00")
//	getHours getMinutes getDayOfWeek  event.time.getHours("Asia/Shanghai") < 8; the week begins with Sunday, 0
//
// Loops do not nest. Patterns, timestamps and time zones are written out, never taken
// from the event. Texts are compared as they are, not folded: finding disguised words
// is what terms are for.
//
// The limits are [MaxLength], [MaxPattern], [MaxMembers] and [CostLimit].
package condition
