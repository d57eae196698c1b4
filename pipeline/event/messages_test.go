package event

import "strings"

// The plainest message of each kind. Those below are made from them.
const (
	plainPost    = `{"id":"p1","time":"2026-11-24T08:30:00Z","user":{"id":"u1"},"fields":{"body":"text"}}`
	plainPush    = `{"id":"n1","time":"2026-11-24T08:30:00Z","user":{"id":"u1"},"fields":{"body":"text"},"class":"service","channel":"app"}`
	plainConsent = `{"id":"c1","time":"2026-11-24T08:30:00Z","user":{"id":"u1"},"version":1,"grants":[]}`
	plainOutcome = `{"id":"o1","time":"2026-11-24T08:30:00Z","user":{"id":"u1"},"push_id":"n1","result":"cancelled"}`
	plainHalt    = `{"id":"h1","time":"2026-11-24T08:30:00Z","scope":"campaign","value":"double-eleven","halted":true}`

	fullPost = `{"kind":"post","id":"p1","time":"2026-11-24T16:30:00.123+08:00","user":{"id":"u1","group":"minor","verified":true},` +
		`"operation":"profile.update","fields":{"nickname":"风筝","body":"a\n\u0000\"\\ \ud83d\ude00"},` +
		`"attachments":[{"uri":"s3://bucket/1","sha256":"` + sum + `","media_type":"image/png","scan":"clean"},{"uri":"x"}],` +
		`"client":{"address":"2001:db8::1","port":51234,"device":{"model":"M1","os":"android 16","id":"d1","app":"town/8.4.1"}},` +
		`"server":{"address":"203.0.113.7","port":443}}`
	fullPush = `{"kind":"push","id":"n1","time":"2026-11-24T08:30:00Z","user":{"id":"u1","group":"elderly","verified":false},"operation":"push.send",` +
		`"fields":{"title":"t","body":"b"},"attachments":[],"client":{},"server":{},"class":"marketing","channel":"sms","campaign":"double-eleven",` +
		`"sender":"shop","label":"广告","personalised":true,"expires":"2026-11-24T20:00:00Z"}`
	fullConsent = `{"kind":"consent","id":"c1","time":"2026-11-24T08:30:00Z","user":{"id":"u1","group":"minor"},"version":9007199254740991,` +
		`"grants":[{"class":"marketing","channel":"app","granted":true,"time":"2026-11-24T08:29:59Z","method":"settings","text_version":"v3"},` +
		`{"class":"marketing","channel":"sms","granted":false,"time":"2026-11-24T08:29:59Z"}],"zone":"Asia/Shanghai","quiet":"22:00-08:00","daily_max":3}`
	fullOutcome = `{"kind":"outcome","id":"o1","time":"2026-11-24T08:30:00Z","user":{"id":"u1"},"push_id":"n1","result":"rejected"}`
	fullHalt    = `{"kind":"halt","id":"h1","time":"2026-11-24T08:30:00Z","scope":"class","value":"marketing","halted":false,"why":"checked\nand corrected","by":"officer-7"}`

	sum = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00A08"
)

// A message is one that decoder and schema must agree on, unless it says why a
// schema has no means for it.
type message struct {
	kind   Kind
	text   string
	want   Reason // "" if it is accepted
	path   string
	beyond string
}

// messages returns the table that the tests of the decoder and of the schemas
// share.
func messages() []message {
	const (
		asText   = "a schema sees the value, not how it is written"
		inBytes  = "a schema counts characters"
		readings = "a schema's date-time and patterns know no calendar"
		relation = "a schema cannot compare two values"
		check    = "a schema cannot compute a check digit, and the rest would be unreadable as a pattern"
	)
	list := []message{
		{kind: Post, text: plainPost},
		{kind: Push, text: plainPush},
		{kind: Consent, text: plainConsent},
		{kind: Outcome, text: plainOutcome},
		{kind: Halt, text: plainHalt},
		{kind: Post, text: fullPost},
		{kind: Push, text: fullPush},
		{kind: Consent, text: fullConsent},
		{kind: Outcome, text: fullOutcome},
		{kind: Halt, text: fullHalt},
	}
	add := func(kind Kind, text string, want Reason, path string, beyond ...string) {
		list = append(list, message{kind, text, want, path, strings.Join(beyond, "")})
	}

	// What every kind has.
	for kind, plain := range map[Kind]string{Post: plainPost, Push: plainPush, Consent: plainConsent, Outcome: plainOutcome, Halt: plainHalt} {
		id, at := plain[:len(`{"id":"p1"`)], `"time":"2026-11-24T08:30:00Z"`
		add(kind, with(plain, `"kind":"`+kind.String()+`"`), "", "")
		add(kind, with(plain, `"kind":"note"`), BadValue, "kind")
		add(kind, with(plain, `"kind":"Post"`), BadValue, "kind")
		add(kind, with(plain, `"kind":""`), BadValue, "kind")
		add(kind, with(plain, `"kind":1`), WrongType, "kind")
		add(kind, with(plain, `"kind":"`+(kind%Halt+1).String()+`"`), Mismatch, "kind")
		add(kind, with(plain, `"secret":1`), UnknownName, "")
		add(kind, with(plain, `"ID":"p1"`), UnknownName, "")
		add(kind, with(plain, `"":1`), UnknownName, "")
		add(kind, swap(plain, `"id"`, `"\u0069d"`), "", "")
		add(kind, without(plain, id[1:]+","), Missing, "id")
		add(kind, swap(plain, id, `{"id":""`), EmptyWord, "id")
		add(kind, swap(plain, id, `{"id":null`), WrongType, "id")
		add(kind, swap(plain, id, `{"id":12`), WrongType, "id")
		add(kind, swap(plain, id, `{"id":"a\u0000b"`), ControlCharacter, "id")
		add(kind, swap(plain, id, `{"id":"a\nb"`), ControlCharacter, "id")
		add(kind, swap(plain, id, `{"id":"\u4e2d\ud83d\ude00/ x"`), "", "")
		add(kind, swap(plain, id, `{"id":"`+strings.Repeat("x", 256)+`"`), "", "")
		add(kind, swap(plain, id, `{"id":"`+strings.Repeat("x", 257)+`"`), TooLong, "id")
		add(kind, swap(plain, id, `{"id":"`+strings.Repeat("中", 86)+`"`), TooLong, "id", inBytes)
		add(kind, without(plain, ","+at), Missing, "time")
		add(kind, swap(plain, at, `"time":1790000000`), WrongType, "time")
		for text, beyond := range map[string]string{
			`2026-11-24T08:30:00+00:00`:           "",
			`2026-11-24T08:30:00-11:59`:           "",
			`2026-11-24T08:30:00.123456789+05:45`: "",
			`2028-02-29T00:00:00Z`:                "",
			`1970-01-01T00:00:00Z`:                "",
			`9999-12-31T23:59:59Z`:                "",
		} {
			add(kind, swap(plain, at, `"time":"`+text+`"`), "", "", beyond)
		}
		for text, beyond := range map[string]string{
			``:                                 "",
			`2026-11-24`:                       "",
			`2026-11-24 08:30:00Z`:             "",
			`2026-11-24T08:30:00`:              "",
			`2026-11-24T08:30Z`:                "",
			`2026-11-24t08:30:00Z`:             "",
			`2026-11-24T08:30:00z`:             "",
			`2026-11-24T08:30:00.Z`:            "",
			`2026-11-24T08:30:00,1Z`:           "",
			`2026-11-24T08:30:00.1234567890Z`:  "",
			`2026-11-24T08:30:00+8:00`:         "",
			`2026-11-24T08:30:00+0800`:         "",
			`2026-11-24T08:30:00+24:00`:        "",
			`2026-11-24T08:30:00+08:60`:        "",
			`2026-11-24T08:30:00+08:00 `:       "",
			`2026-11-24T24:00:00Z`:             "",
			`2026-11-24T08:60:00Z`:             "",
			`2026-11-24T08:30:60Z`:             "",
			`2026-13-24T08:30:00Z`:             "",
			`2026-00-24T08:30:00Z`:             "",
			`2026-11-31T08:30:00Z`:             "",
			`2026-02-29T08:30:00Z`:             "",
			`2026-11-00T08:30:00Z`:             "",
			`2026-11-24T08:30:00Z2`:            "",
			`02026-11-24T08:30:00Z`:            "",
			`-026-11-24T08:30:00Z`:             "",
			`Tue, 24 Nov 2026 08:30:00 GMT`:    "",
			`2016-12-31T23:59:60Z`:             "", // a leap second
			`0001-01-01T00:00:00Z`:             "",
			`1969-12-31T23:59:59Z`:             "",
			`1970-01-01T00:00:00+00:01`:        readings,
			`9999-12-31T23:59:59-00:01`:        readings,
			`２026-11-24T08:30:00Z`:             "",
			`2026-11-24T08:30:00\u005a\u0000`:  "",
			`2026-11-24T08:30:00.123+08:00:00`: "",
		} {
			add(kind, swap(plain, at, `"time":"`+text+`"`), BadTime, "time", beyond)
		}
	}

	// The user.
	for kind, plain := range map[Kind]string{Post: plainPost, Push: plainPush, Consent: plainConsent, Outcome: plainOutcome} {
		user := func(text string, want Reason, path string, beyond ...string) {
			add(kind, swap(plain, `{"id":"u1"}`, text), want, path, beyond...)
		}
		user(`{"id":"u1","group":"","verified":false}`, "", "")
		user(`{"verified":true,"group":"minor","id":"u1"}`, "", "")
		user(`{}`, Missing, "user.id")
		user(`{"group":"minor"}`, Missing, "user.id")
		user(`{"id":""}`, EmptyWord, "user.id")
		user(`{"id":7}`, WrongType, "user.id")
		user(`{"id":["u1"]}`, WrongType, "user.id")
		user(`{"id":"u1","name":"x"}`, UnknownName, "user")
		user(`{"id":"u1","group":7}`, WrongType, "user.group")
		user(`{"id":"u1","group":null}`, WrongType, "user.group")
		user(`{"id":"u1","verified":"true"}`, WrongType, "user.verified")
		user(`{"id":"u1","verified":1}`, WrongType, "user.verified")
		user(`{"id":"u1","verified":null}`, WrongType, "user.verified")
		user(`{"id":"`+strings.Repeat("u", 257)+`"}`, TooLong, "user.id")
		user(`"u1"`, WrongType, "user")
		user(`["u1"]`, WrongType, "user")
		user(`null`, WrongType, "user")
		user(`{"id":"13812345678"}`, PersonalNumber, "user.id", check)
		user(`{"id":"11010519491231002X"}`, PersonalNumber, "user.id", check)
		add(kind, without(plain, `,"user":{"id":"u1"}`), Missing, "user.id")
	}
	add(Halt, with(plainHalt, `"user":{"id":"u1"}`), UnknownName, "")

	// Posts and pushes.
	for kind, plain := range map[Kind]string{Post: plainPost, Push: plainPush} {
		more := func(text string, want Reason, path string, beyond ...string) {
			add(kind, with(plain, text), want, path, beyond...)
		}
		more(`"operation":"comment"`, "", "")
		more(`"operation":""`, "", "")
		more(`"operation":1`, WrongType, "operation")
		more(`"operation":"a\tb"`, ControlCharacter, "operation")

		fields := func(text string, want Reason, path string) {
			add(kind, swap(plain, `{"body":"text"}`, text), want, path)
		}
		fields(`{}`, "", "")
		fields(`{"任意 name":"","x":"\u0000\n"}`, "", "")
		fields(`{"id":"a","fields":"b","kind":"c"}`, "", "")
		fields(`{"a":"`+strings.Repeat("中", 10_000)+`"}`, "", "")
		fields(`{`+numbered(64)+`}`, "", "")
		fields(`{`+numbered(65)+`}`, TooManyFields, "fields")
		fields(`{"a":"","b":1}`, WrongType, "fields[1]")
		fields(`{"a":null}`, WrongType, "fields[0]")
		fields(`{"a":["x"]}`, WrongType, "fields[0]")
		fields(`{"a":{"b":"x"}}`, WrongType, "fields[0]")
		fields(`{"a":"","":"x"}`, EmptyWord, "fields[1]")
		fields(`{"a\u0000":"x"}`, ControlCharacter, "fields[0]")
		fields(`{"`+strings.Repeat("n", 256)+`":"x"}`, "", "")
		fields(`{"`+strings.Repeat("n", 257)+`":"x"}`, TooLong, "fields[0]")
		fields(`[]`, WrongType, "fields")
		fields(`"text"`, WrongType, "fields")
		fields(`null`, WrongType, "fields")
		add(kind, without(plain, `,"fields":{"body":"text"}`), Missing, "fields")

		more(`"attachments":[]`, "", "")
		more(`"attachments":[{"uri":"a","sha256":"","media_type":"","scan":""}]`, "", "")
		more(`"attachments":[{"uri":"`+strings.Repeat("u", 2000)+`"}]`, "", "")
		more(`"attachments":[`+repeated(`{"uri":"a"}`, 256)+`]`, "", "")
		more(`"attachments":[`+repeated(`{"uri":"a"}`, 257)+`]`, TooManyItems, "attachments")
		more(`"attachments":[`+repeated(`0`, 257)+`]`, TooManyItems, "attachments")
		more(`"attachments":{}`, WrongType, "attachments")
		more(`"attachments":null`, WrongType, "attachments")
		more(`"attachments":["a"]`, WrongType, "attachments[0]")
		more(`"attachments":[{"uri":"a"},{}]`, Missing, "attachments[1].uri")
		more(`"attachments":[{"uri":""}]`, EmptyWord, "attachments[0].uri")
		more(`"attachments":[{"uri":7}]`, WrongType, "attachments[0].uri")
		more(`"attachments":[{"uri":"a"},{"uri":"a","size":1}]`, UnknownName, "attachments[1]")
		more(`"attachments":[{"uri":"a","sha256":"`+sum[1:]+`"}]`, BadSHA256, "attachments[0].sha256")
		more(`"attachments":[{"uri":"a","sha256":"`+sum+`0"}]`, BadSHA256, "attachments[0].sha256")
		more(`"attachments":[{"uri":"a","sha256":"`+sum[1:]+`g"}]`, BadSHA256, "attachments[0].sha256")
		more(`"attachments":[{"uri":"a","sha256":0}]`, WrongType, "attachments[0].sha256")
		more(`"attachments":[{"uri":"a","media_type":0}]`, WrongType, "attachments[0].media_type")
		more(`"attachments":[{"uri":"a","scan":true}]`, WrongType, "attachments[0].scan")

		for _, end := range []string{"client", "server"} {
			conn := func(text string, want Reason, path string, beyond ...string) {
				if path != "" {
					path = "." + path
				}
				if want != "" {
					path = end + path
				}
				more(`"`+end+`":`+text, want, path, beyond...)
			}
			conn(`{}`, "", "")
			conn(`{"address":"","port":0}`, "", "")
			conn(`[]`, WrongType, "")
			conn(`null`, WrongType, "")
			conn(`{"host":"x"}`, UnknownName, "")
			conn(`{"address":7}`, WrongType, "address")
			for _, a := range []string{"0.0.0.0", "255.255.255.255", "::", "::1", "1::", "2001:DB8::a:0", "1:2:3:4:5:6:7:8", "1::3:4:5:6:7:8", "::ffff:203.0.113.7", "1:2:3:4:5:6:1.2.3.4"} {
				conn(`{"address":"`+a+`"}`, "", "")
			}
			for _, a := range []string{
				"localhost", "203.0.113", "203.0.113.256", "203.0.113.07", "203.0.113.7.1", "203.0.113.7:80", "203.0.113.7/32", " 203.0.113.7", "0x7f.1", "2130706433",
				":", ":::", "1::2::3", "12345::", "g::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::8:9", "::1:", ":1::", "fe80::1%eth0", "[::1]", "1:2:3:4:5:6:7:1.2.3.4", "1.2.3.4::",
			} {
				conn(`{"address":"`+a+`"}`, BadAddress, "address")
			}
			conn(`{"port":1}`, "", "")
			conn(`{"port":65535}`, "", "")
			conn(`{"port":65536}`, BadPort, "port")
			conn(`{"port":99999999999999999999999999}`, BadPort, "port")
			conn(`{"port":-1}`, BadPort, "port")
			conn(`{"port":80.5}`, BadPort, "port")
			conn(`{"port":80.0}`, BadPort, "port", asText)
			conn(`{"port":8e1}`, BadPort, "port", asText)
			conn(`{"port":-0}`, BadPort, "port", asText)
			conn(`{"port":"80"}`, WrongType, "port")
			conn(`{"port":null}`, WrongType, "port")
		}
		more(`"client":{"device":{}}`, "", "")
		more(`"client":{"device":{"model":"","os":"","id":"","app":""}}`, "", "")
		more(`"client":{"device":{"imei":"x"}}`, UnknownName, "client.device")
		more(`"client":{"device":{"model":1}}`, WrongType, "client.device.model")
		more(`"client":{"device":{"os":[]}}`, WrongType, "client.device.os")
		more(`"client":{"device":{"id":{}}}`, WrongType, "client.device.id")
		more(`"client":{"device":{"app":true}}`, WrongType, "client.device.app")
		more(`"client":{"device":"M1"}`, WrongType, "client.device")
		more(`"server":{"device":{}}`, UnknownName, "server")
	}

	// What only pushes have.
	for _, word := range []string{"campaign", "sender", "label"} {
		add(Push, with(plainPush, `"`+word+`":""`), "", "")
		add(Push, with(plainPush, `"`+word+`":"x"`), "", "")
		add(Push, with(plainPush, `"`+word+`":7`), WrongType, word)
		add(Push, with(plainPush, `"`+word+`":"\u001f"`), ControlCharacter, word)
		add(Push, with(plainPush, `"`+word+`":"`+strings.Repeat("x", 257)+`"`), TooLong, word)
		add(Post, with(plainPost, `"`+word+`":""`), UnknownName, "")
	}
	for _, member := range []string{`"class":"service"`, `"channel":"app"`} {
		name := strings.Split(member, `"`)[1]
		add(Push, without(plainPush, ","+member), Missing, name)
		add(Push, swap(plainPush, member, `"`+name+`":""`), EmptyWord, name)
		add(Push, swap(plainPush, member, `"`+name+`":null`), WrongType, name)
		add(Post, with(plainPost, member), UnknownName, "")
	}
	add(Push, with(plainPush, `"personalised":true`), "", "")
	add(Push, with(plainPush, `"personalised":"yes"`), WrongType, "personalised")
	add(Post, with(plainPost, `"personalised":true`), UnknownName, "")
	add(Push, with(plainPush, `"expires":"2026-11-24T08:30:00.5+08:00"`), "", "")
	add(Push, with(plainPush, `"expires":"tomorrow"`), BadTime, "expires")
	add(Push, with(plainPush, `"expires":""`), BadTime, "expires")
	add(Push, with(plainPush, `"expires":1790000000`), WrongType, "expires")
	add(Post, with(plainPost, `"expires":"2026-11-24T08:30:00Z"`), UnknownName, "")

	// Consent.
	add(Consent, without(plainConsent, `,"version":1`), Missing, "version")
	for text, want := range map[string]Reason{"2": "", "9007199254740991": "", "9007199254740992": BadInteger, "18446744073709551617": BadInteger, "0": BadInteger, "-1": BadInteger, "1.5": BadInteger, `"1"`: WrongType, "null": WrongType} {
		path := "version"
		if want == "" {
			path = ""
		}
		add(Consent, swap(plainConsent, `"version":1`, `"version":`+text), want, path)
	}
	add(Consent, swap(plainConsent, `"version":1`, `"version":1.0`), BadInteger, "version", asText)
	add(Consent, without(plainConsent, `,"grants":[]`), Missing, "grants")
	const grant = `{"class":"content","channel":"app","granted":true,"time":"2026-11-24T08:30:00Z","method":"settings"}`
	grants := func(text string, want Reason, path string, beyond ...string) {
		add(Consent, swap(plainConsent, `[]`, text), want, path, beyond...)
	}
	grants(`[`+grant+`]`, "", "")
	grants(`[`+swap(grant, `"app"`, `"sms"`)+`,`+grant+`]`, "", "")
	grants(`[`+swap(grant, `true`, `false`)+`]`, "", "")
	grants(`[`+without(swap(grant, `true`, `false`), `,"method":"settings"`)+`]`, "", "")
	grants(`[`+with(swap(grant, `"settings"`, `"checkbox"`), `"text_version":""`)+`]`, "", "")
	grants(`[`+without(grant, `"class":"content",`)+`]`, Missing, "grants[0].class")
	grants(`[`+without(grant, `"channel":"app",`)+`]`, Missing, "grants[0].channel")
	grants(`[`+without(grant, `"granted":true,`)+`]`, Missing, "grants[0].granted")
	grants(`[`+without(grant, `"time":"2026-11-24T08:30:00Z",`)+`]`, Missing, "grants[0].time")
	grants(`[`+without(grant, `,"method":"settings"`)+`]`, Missing, "grants[0].method")
	grants(`[`+swap(grant, `"settings"`, `""`)+`]`, EmptyWord, "grants[0].method")
	grants(`[`+swap(grant, `"content"`, `""`)+`]`, EmptyWord, "grants[0].class")
	grants(`[`+swap(grant, `"app"`, `""`)+`]`, EmptyWord, "grants[0].channel")
	grants(`[`+swap(grant, `true`, `"true"`)+`]`, WrongType, "grants[0].granted")
	grants(`[`+swap(grant, `"2026-11-24T08:30:00Z"`, `"yesterday"`)+`]`, BadTime, "grants[0].time")
	grants(`[`+with(grant, `"text_version":3`)+`]`, WrongType, "grants[0].text_version")
	grants(`[`+with(grant, `"note":""`)+`]`, UnknownName, "grants[0]")
	grants(`[`+grant+`,[]]`, WrongType, "grants[1]")
	grants(`[`+grant+`,`+swap(grant, `true`, `false`)+`]`, DuplicateGrant, "grants[1]", relation)
	grants(`[`+repeated("0", 257)+`]`, TooManyItems, "grants")
	grants(`{}`, WrongType, "grants")
	grants(`null`, WrongType, "grants")
	for _, zone := range []string{"", "UTC", "Asia/Shanghai", "America/Argentina/Buenos_Aires", "Etc/GMT+8", "America/Port-au-Prince", "GMT0"} {
		add(Consent, with(plainConsent, `"zone":"`+zone+`"`), "", "")
	}
	for _, zone := range []string{"Local", "/etc/localtime", "../UTC", "Asia//Shanghai", "Asia/", "Asia Shanghai", "+08:00", "8", "亚洲/上海", `UTC\u0000`} {
		want := BadValue
		if strings.Contains(zone, `\u0000`) {
			want = ControlCharacter
		}
		add(Consent, with(plainConsent, `"zone":"`+zone+`"`), want, "zone")
	}
	add(Consent, with(plainConsent, `"zone":8`), WrongType, "zone")
	for _, quiet := range []string{"", "22:00-08:00", "00:00-23:59"} {
		add(Consent, with(plainConsent, `"quiet":"`+quiet+`"`), "", "")
	}
	for _, quiet := range []string{"22:00", "22-08", "22:00-24:00", "22:60-08:00", "2:00-08:00", "22:00–08:00", "22:00-08:00 ", "ab:cd-ef:gh", "22.00-08.00"} {
		add(Consent, with(plainConsent, `"quiet":"`+quiet+`"`), BadValue, "quiet")
	}
	add(Consent, with(plainConsent, `"quiet":"08:00-08:00"`), BadValue, "quiet", relation)
	add(Consent, with(plainConsent, `"quiet":false`), WrongType, "quiet")
	add(Consent, with(plainConsent, `"daily_max":0`), "", "")
	add(Consent, with(plainConsent, `"daily_max":2147483647`), "", "")
	add(Consent, with(plainConsent, `"daily_max":2147483648`), BadInteger, "daily_max")
	add(Consent, with(plainConsent, `"daily_max":-1`), BadInteger, "daily_max")
	add(Consent, with(plainConsent, `"daily_max":null`), WrongType, "daily_max")
	add(Consent, with(plainConsent, `"fields":{}`), UnknownName, "")

	// Outcomes.
	add(Outcome, without(plainOutcome, `"push_id":"n1",`), Missing, "push_id")
	add(Outcome, swap(plainOutcome, `"n1"`, `""`), EmptyWord, "push_id")
	add(Outcome, swap(plainOutcome, `"n1"`, `1`), WrongType, "push_id")
	add(Outcome, without(plainOutcome, `,"result":"cancelled"`), Missing, "result")
	add(Outcome, swap(plainOutcome, `"cancelled"`, `"delivered"`), BadValue, "result")
	add(Outcome, swap(plainOutcome, `"cancelled"`, `"Cancelled"`), BadValue, "result")
	add(Outcome, swap(plainOutcome, `"cancelled"`, `""`), BadValue, "result")
	add(Outcome, swap(plainOutcome, `"cancelled"`, `true`), WrongType, "result")

	// Halts.
	add(Halt, swap(plainHalt, `"campaign"`, `"sender"`), "", "")
	add(Halt, swap(plainHalt, `"campaign"`, `"everything"`), BadValue, "scope")
	add(Halt, without(plainHalt, `,"scope":"campaign"`), Missing, "scope")
	add(Halt, without(plainHalt, `,"value":"double-eleven"`), Missing, "value")
	add(Halt, swap(plainHalt, `"double-eleven"`, `""`), EmptyWord, "value")
	add(Halt, without(plainHalt, `,"halted":true`), Missing, "halted")
	add(Halt, swap(plainHalt, `true`, `null`), WrongType, "halted")
	add(Halt, swap(plainHalt, `true`, `1`), WrongType, "halted")
	add(Halt, with(plainHalt, `"why":"`+strings.Repeat("很长", 1000)+`"`), "", "")
	add(Halt, with(plainHalt, `"why":0`), WrongType, "why")
	add(Halt, with(plainHalt, `"by":""`), "", "")
	add(Halt, with(plainHalt, `"by":0`), WrongType, "by")

	// The message as a whole.
	for _, text := range []string{`[]`, `[` + plainPost + `]`, `"post"`, `0`, `true`} {
		add(Post, text, WrongType, "")
	}
	add(Post, `{}`, Missing, "user.id")
	add(Post, ` null `, NullValue, "")
	return list
}

// broken are values that are no JSON at all, or not JSON of one reading. No
// schema sees them.
func broken() []message {
	text := func(s string) string { return swap(plainPost, "text", s) }
	deep := func(n int) string {
		return with(plainPost, `"client":`+strings.Repeat(`[`, n)+strings.Repeat(`]`, n))
	}
	list := []message{
		{text: "", want: EmptyValue},
		{text: " \t\r\n", want: EmptyValue},
		{text: "null", want: NullValue},
		{text: "NaN", want: BadNumber},
		{text: `"`, want: Truncated},
		{text: plainPost[:len(plainPost)/2], want: Truncated},
		{text: plainPost[:len(plainPost)-1], want: Truncated},
		{text: plainPost + plainPost, want: TrailingData},
		{text: plainPost + "\n" + plainPost, want: TrailingData},
		{text: plainPost + "x", want: TrailingData},
		{text: plainPost + "\x00", want: TrailingData},
		{text: "\x00" + plainPost, want: ControlCharacter},
		{text: "\x00\x00\x00\x00\x07" + plainPost, want: ControlCharacter}, // a schema registry's framing
		{text: "\x1f\x8b\x08\x00", want: ControlCharacter},                 // gzip
		{text: "\x28\xb5\x2f\xfd", want: Syntax},                           // zstd
		{text: "\ufeff" + plainPost, want: Syntax},
		{text: "\xff\xfe{\x00", want: InvalidUTF8}, // UTF-16
		{text: strings.Repeat("\x00", 100), want: ControlCharacter},
		{text: text("a\x00b"), want: ControlCharacter},
		{text: text("a\nb"), want: ControlCharacter},
		{text: text("\xff"), want: InvalidUTF8},
		{text: text("\xc0\xaf"), want: InvalidUTF8},
		{text: text("\xed\xa0\x80"), want: InvalidUTF8},
		{text: text("\xe4\xb8"), want: InvalidUTF8},
		{text: swap(plainPost, "body", "\xff"), want: InvalidUTF8},
		{text: text(`\x41`), want: BadEscape},
		{text: text(`\u00g0`), want: BadEscape},
		{text: text(`\ud800`), want: LoneSurrogate},
		{text: text(`\ud800\u0041BC`), want: LoneSurrogate},
		{text: text(`\udc00`), want: LoneSurrogate},
		{text: swap(plainPost, "body", `\udfff`), want: LoneSurrogate},
		{text: with(plainPost, `"client":{"port":NaN}`), want: BadNumber},
		{text: with(plainPost, `"client":{"port":-Infinity}`), want: BadNumber},
		{text: with(plainPost, `"client":{"port":080}`), want: BadNumber},
		{text: with(plainPost, `"client":{"port":+80}`), want: BadNumber},
		{text: with(plainPost, `"id":"p2"`), want: DuplicateName},
		{text: with(plainPost, `"\u0069d":"p1"`), want: DuplicateName},
		{text: swap(plainPost, `"body":"text"`, `"body":"text","body":"text"`), want: DuplicateName},
		{text: swap(plainPost, `"body":"text"`, numbered(40)+`,"f7":""`), want: DuplicateName},
		{text: with(plainPost, `"user":{"id":"u2"}`), want: DuplicateName},
		{text: swap(plainPost, `,`, `,,`), want: Syntax},
		{text: swap(plainPost, `}}`, `},}`), want: Syntax},
		{text: swap(plainPost, `"text"`, `'text'`), want: Syntax},
		{text: swap(plainPost, `"text"`, `undefined`), want: Syntax},
		{text: "// a post\n" + plainPost, want: Syntax},
		{text: "<post/>", want: Syntax},
		{text: deep(31), want: WrongType, path: "client"},
		{text: deep(32), want: TooDeep},
		{text: deep(10_000), want: TooDeep},
		{text: strings.Repeat(`{"a":`, 10_000), want: TooDeep},
		{text: strings.Repeat(`[`, 10_000), want: TooDeep},
		{text: with(plainPost, `"client":[`+repeated("0", 10_000)+`]`), want: TooManyValues},
		{text: text(strings.Repeat("x", 1<<20)), want: TooLarge},
		{text: strings.Repeat("x", 1<<20+1), want: TooLarge},
	}
	for i := range list {
		list[i].kind, list[i].beyond = Post, "a schema sees only JSON"
	}
	return list
}

// with returns an object with one more member, at its end.
func with(object, member string) string {
	return object[:len(object)-1] + "," + member + "}"
}

// without returns text without the part that is there once.
func without(text, part string) string { return swap(text, part, "") }

// swap replaces the first old in text.
func swap(text, old, by string) string {
	if !strings.Contains(text, old) {
		panic(text + " has no " + old)
	}
	return strings.Replace(text, old, by, 1)
}

func repeated(s string, n int) string {
	return strings.TrimSuffix(strings.Repeat(s+",", n), ",")
}

// numbered returns n different fields.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"f` + strings.Repeat("1", i/10) + string(rune('0'+i%10)) + `":""`)
	}
	return b.String()
}
