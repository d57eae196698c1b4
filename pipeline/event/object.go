package event

import "strconv"

// user reads the account an event belongs to.
func (d *Decoder) user(at int, u *User) {
	first, end := d.object(at)
	for i := first; i < end; i = d.next(i) {
		switch v := i + 1; string(d.name(i)) {
		case "id":
			u.ID = d.word("id", v)
			// Clause: rn-principles
			// Identity-card and phone numbers are refused where they would become the user's name.
			if isPersonalNumber(u.ID) {
				d.fail(PersonalNumber, "id", v)
			}
		case "group":
			u.Group = d.word("group", v)
		case "verified":
			u.Verified = d.boolean("verified", v)
		default:
			d.unknown(i)
		}
	}
	d.in("user")
}

// Clause: cmp-names
// Texts are named freely, so a nickname or a group's name is judged like a post's body.

// textFields reads all named texts in their order.
func (d *Decoder) textFields(at int) []Field {
	first, end := d.object(at)
	fields := d.fields.take(min((end-first)/2, d.config.MaxFields))
	n := 0
	for i := first; i < end; i = d.next(i) {
		if n == d.config.MaxFields {
			d.fail(TooManyFields, "", i)
			break
		}
		name := d.name(i)
		if d.checkWord("", i, name); len(name) == 0 {
			d.fail(EmptyWord, "", i)
		}
		fields[n] = Field{Name: name, Text: d.prose("", i+1)}
		if d.fault != nil {
			d.in(element(n))
		}
		n++
	}
	d.in("fields")
	return fields[:n:n]
}

// attached reads the attachments.
func (d *Decoder) attached(at int) []Attachment {
	first, end, n := d.items(at)
	attachments := d.attachments.take(n)
	for n, i := 0, first; i < end; n, i = n+1, d.after(i) {
		if d.attachment(i, &attachments[n]); d.fault != nil {
			d.in(element(n))
		}
	}
	d.in("attachments")
	return attachments
}

func (d *Decoder) attachment(at int, a *Attachment) {
	*a = Attachment{}
	first, end := d.object(at)
	for i := first; i < end; i = d.next(i) {
		switch v := i + 1; string(d.name(i)) {
		case "uri":
			a.URI = d.prose("uri", v)
		case "sha256":
			if a.SHA256 = d.word("sha256", v); len(a.SHA256) != 0 && !isSHA256(a.SHA256) {
				d.fail(BadSHA256, "sha256", v)
			}
		case "media_type":
			a.MediaType = d.word("media_type", v)
		case "scan":
			a.Scan = d.word("scan", v)
		default:
			d.unknown(i)
		}
	}
	d.needed("uri", a.URI)
}

func isSHA256(w []byte) bool {
	for _, c := range w {
		if !isHex(c) {
			return false
		}
	}
	return len(w) == 64
}

// client reads the end of the connection the user sits at.
func (d *Decoder) client(at int, c *Endpoint) {
	first, end := d.object(at)
	for i := first; i < end; i = d.next(i) {
		if string(d.name(i)) == "device" {
			d.device(i+1, &c.Device)
		} else {
			d.endpoint(i, c)
		}
	}
	d.in("client")
}

// server reads the platform's end of the connection.
func (d *Decoder) server(at int, s *Endpoint) {
	first, end := d.object(at)
	for i := first; i < end; i = d.next(i) {
		d.endpoint(i, s)
	}
	d.in("server")
}

// endpoint reads a member both ends have.
func (d *Decoder) endpoint(i int, e *Endpoint) {
	switch v := i + 1; string(d.name(i)) {
	case "address":
		if e.Address = d.word("address", v); len(e.Address) != 0 && !isAddress(e.Address) {
			d.fail(BadAddress, "address", v)
		}
	case "port":
		e.Port = uint16(d.number("port", v, 0, 65535, BadPort))
	default:
		d.unknown(i)
	}
}

func (d *Decoder) device(at int, dev *Device) {
	first, end := d.object(at)
	for i := first; i < end; i = d.next(i) {
		switch v := i + 1; string(d.name(i)) {
		case "model":
			dev.Model = d.word("model", v)
		case "os":
			dev.OS = d.word("os", v)
		case "id":
			dev.ID = d.word("id", v)
		case "app":
			dev.App = d.word("app", v)
		default:
			d.unknown(i)
		}
	}
	d.in("device")
}

// items is array with the number of elements, of which there may not be many.
func (d *Decoder) items(at int) (first, end, n int) {
	first, end = d.array(at)
	for i := first; i < end; i = d.after(i) {
		if n++; n > d.config.MaxItems {
			d.fail(TooManyItems, "", i)
			return 0, 0, 0
		}
	}
	return first, end, n
}

// element returns the path of the nth element.
func element(n int) string { return "[" + strconv.Itoa(n) + "]" }
