package detect

import "sync"

// Limits of a phone number.
const (
	minPhone     = 7  // digits, with a word beside them that says what they are
	maxPhone     = 15 // digits, by E.164; the same with 0086 in front
	mobileDigits = 11 // of a Chinese mobile number
	maxWordAway  = 5  // symbols between such a word and the number
)

// What words beside a number say.
const (
	sayPhone tag = iota + 1 // a phone number follows
	sayCall                 // perhaps: to call is said of more than phones
	sayOther                // another number follows
)

var phoneWords = sync.OnceValue(func() *lexicon {
	return newLexicon(map[tag]string{
		sayPhone: `电话 手机 手机号 座机 热线 联系方式 拨打 致电 来电 号码 传真 咨询 联系 联系人 短信 加我 tel telephone fax hotline
			whatsapp whatsapp: 📞 ☎ 📱 ☏ ✆ vx wx 微信 mob`,
		sayCall: `call call_me call_me_at text_me text_me_at reach_me_at number_is text phone mobile cell sms dial ring contact number 打 呼`,
		sayOther: `订单 订单号 单号 编号 运单 运单号 快递 流水 流水号 学号 工号 身份证 卡号 账号 帐号 银行卡 邮编 税号 序列号 批号 条码 证号 编码 版本
			isbn issn order invoice tracking serial sn id sku ref account case ticket barcode part model ean upc imei qq 群号 qq号`,
	})
})

// findPhone finds a phone number among the groups of digits: the longest number that begins
// with the first group from which one can be read.
func (sc *Scratch) findPhone(at int) (lo, hi int) {
	if at == 0 {
		sc.readGroups()
	}
	for sc.next < len(sc.groups) {
		first := sc.next
		sc.next++
		if sc.groups[first].from < at {
			continue
		}
		end, lo := sc.phoneAt(first)
		if end == 0 || lo < at {
			continue
		}
		before, inside, after := sc.gapBefore(first), sc.gapsInside(first, end), sc.gapBefore(end)
		// Where a number goes on in either direction as it was written so far, it is another one:
		// of a card, of an order. Unless the neighbour is a phone number, too.
		if goesOn(before, inside) && sc.groups[first-1].to > at && sc.says(lo) != sayPhone {
			continue
		}
		if goesOn(after, inside) {
			if next, _ := sc.phoneAt(end); next == 0 {
				continue
			}
		}
		sc.next = end
		return lo, sc.extension(sc.groups[end-1].to)
	}
	return -1, -1
}

// goesOn reports whether a number goes on beyond a gap, by the gaps inside it.
func goesOn(g, inside gap) bool {
	if g == gapBlank || g&gapWide != 0 {
		return inside&g&(gapBlank|gapWide) != 0
	}
	return g != 0
}

// gapBefore is what stands between a group and the one before.
func (sc *Scratch) gapBefore(g int) gap {
	if g == 0 || g >= len(sc.groups) {
		return 0
	}
	return sc.gapAt(sc.groups[g-1].to, sc.groups[g].from)
}

func (sc *Scratch) gapsInside(first, end int) gap {
	var all gap
	for g := first + 1; g < end; g++ {
		all |= sc.gapBefore(g)
	}
	return all
}

// digitsOf are the digits of some groups.
type digitsOf struct {
	d      [maxPhone + 1]byte
	n      int
	length [maxPhone + 1]int // of the groups
	groups int
	gaps   gap
}

// phoneAt reads a phone number that begins with a group. It returns the group behind it, 0 if there
// is no number, and the symbol it begins at, which may be a plus sign or a bracket.
func (sc *Scratch) phoneAt(first int) (end, lo int) {
	lo, plus := sc.signBefore(sc.groups[first].from)
	var num digitsOf
	says, asked := tag(0), false
	for g := first; g < len(sc.groups); g++ {
		from, to := sc.groups[g].from, sc.groups[g].to
		if g > first {
			between := sc.gapAt(sc.groups[g-1].to, from)
			if between == 0 {
				break
			}
			num.gaps |= between
		}
		if num.n+to-from > maxPhone {
			break
		}
		for i := from; i < to; i++ {
			num.d[num.n] = byte('0' + sc.at(i).digit)
			num.n++
		}
		num.length[num.groups] = to - from
		num.groups++
		if num.n < minPhone {
			continue
		}
		if !asked {
			says, asked = sc.says(lo), true
		}
		if num.isPhone(plus, says, sc.at(lo).r == '(') && sc.endsPhone(g) {
			end = g + 1
		}
	}
	if end == 0 || says == sayOther || !sc.beginsPhone(first, lo, says) || sc.isAddress(first, end) {
		return 0, lo
	}
	if sc.at(lo).r == '(' && !sc.closes(lo, sc.groups[end-1].to) { // it is around the number
		lo++
	}
	return end, lo
}

// signBefore returns where a number begins whose digits begin at a place: at a bracket or a plus
// sign before them, or both.
func (sc *Scratch) signBefore(i int) (lo int, plus bool) {
	isPlus := func(i int) bool { r := sc.at(i).r; return r == '+' || r == '➕' }
	switch open := sc.at(i-1).r == '('; {
	case open && isPlus(i-2): // +(86)
		return i - 2, true
	case open:
		return i - 1, false
	case isPlus(i-1) && sc.at(i-2).r == '(': // (+86)
		return i - 2, true
	case isPlus(i - 1):
		return i - 1, true
	}
	return i, false
}

// closes reports whether a bracket is closed among symbols lo up to hi.
func (sc *Scratch) closes(lo, hi int) bool {
	for ; lo < hi; lo++ {
		if sc.at(lo).r == ')' {
			return true
		}
	}
	return false
}

// says returns what the word before a number says of it.
func (sc *Scratch) says(lo int) tag {
	for i := lo; i >= 0 && i >= lo-maxWordAway; i-- {
		if t, begin, ok := phoneWords().before(sc, i, hasPhoneWord); ok {
			if t == sayCall && (sc.at(i).r == ':' || i < lo && sc.at(i-1).kind == han) {
				t = sayPhone
			}
			if t != sayOther { // 订单联系电话
				return t
			}
			if sc.at(begin-1).kind == letter {
				return 0
			}
			return t
		}
		switch s := sc.at(i - 1); {
		case s.kind == blank || s.kind == mark && s.r != '/' && s.r != '=':
		case s.r == 'o' && sc.at(i-2).r == 'n' && sc.at(i-3).kind != letter: // no.
			i--
		case s.r == ':' || s.r == '号' || s.r == '码' || s.r == '是' || s.r == '为' || s.r == '我':
		default:
			return 0
		}
	}
	return 0
}

// beginsPhone reports whether a phone number can begin with a group, at a symbol, by what stands before.
func (sc *Scratch) beginsPhone(g, lo int, says tag) bool {
	s := sc.at(lo - 1)
	switch s.r {
	case '$', '¥', '€', '£', '_', '%', '第':
		return false
	case '/':
		return says == sayPhone || g > 0 && sc.groups[g-1].to == lo-1 && lo-1-sc.groups[g-1].from == mobileDigits
	case '=', '#', '\\', '.', '+':
		return says == sayPhone
	case '-':
		return !sc.at(lo-2).latin() || says == sayPhone
	}
	return s.kind != letter || says == sayPhone
}

// endsPhone reports whether a phone number can end with a group, by what stands behind.
func (sc *Scratch) endsPhone(g int) bool {
	hi := sc.groups[g].to
	s := sc.at(hi)
	switch s.r {
	case '次', '元', '块', '%', '万', '亿', '圆', '€', '$', '¥', '_', '@', '=':
		return false
	case '/':
		return !sc.at(hi+1).latin() || g+1 < len(sc.groups) && sc.groups[g+1].from == hi+1 && sc.groups[g+1].to-hi-1 == mobileDigits
	case '.', '-':
		return !sc.at(hi + 1).latin()
	case 'v', 'w', 'q': // 13800138000vx
		_, _, ok := names().at(sc, hi, false)
		return ok
	}
	return s.kind != letter
}

// isAddress reports whether groups are an IP address: four numbers up to 255 with dots.
func (sc *Scratch) isAddress(first, end int) bool {
	if end-first != 4 {
		return false
	}
	for g := first; g < end; g++ {
		n := 0
		for i := sc.groups[g].from; i < sc.groups[g].to; i++ {
			n = min(n*10+int(sc.at(i).digit), 1000)
		}
		if n > 255 || g > first && (sc.gapBefore(g) != gapDot || sc.groups[g].from-sc.groups[g-1].to != 1) {
			return false
		}
	}
	return true
}

// extension returns the end of a number with the extension that may follow: 转 8001, ext. 12.
func (sc *Scratch) extension(hi int) int {
	i := sc.skip(hi, blank, 1)
	switch {
	case sc.at(i).r == '转':
		i++
	case sc.reads(i, "ext"):
		i += 3
		if sc.at(i).r == '.' {
			i++
		}
	default:
		return hi
	}
	i = sc.skip(i, blank, 1)
	if end := sc.skip(i, digit, 5); end > i && sc.at(end).kind != digit {
		return end
	}
	return hi
}

// isPhone reports whether digits in their groups are a phone number.
func (num *digitsOf) isPhone(plus bool, says tag, paren bool) bool {
	d := num.d[:num.n]
	if plus {
		return num.international()
	}
	for _, prefix := range []string{"", "86", "0086"} {
		if len(d) == len(prefix)+mobileDigits && string(d[:len(prefix)]) == prefix && num.mobile(len(prefix), says) {
			return true
		}
	}
	if num.landline(says) || num.service(says) || num.northAmerican(says, paren) {
		return true
	}
	if num.groups > 1 && d[0] == '0' && d[1] == '0' && d[2] != '0' && num.n >= 11 && says != 0 {
		return true
	}
	return num.local(says)
}

// mobile reports whether the digits behind a prefix are a Chinese mobile number: 1, then 3 to 9,
// eleven in all, in groups as people make them.
func (num *digitsOf) mobile(prefix int, says tag) bool {
	d := num.d[prefix:num.n]
	if d[0] != '1' || d[1] < '3' {
		return false
	}
	length := num.length[:num.groups]
	first := length[0]
	switch {
	case prefix == 0:
	case first == prefix:
		length = length[1:]
		first = length[0]
	case first > prefix:
		first -= prefix
	default:
		return false
	}
	if len(length) == 1 {
		return true
	}
	single := len(length) == mobileDigits
	if num.gaps&gapOdd != 0 {
		return single || len(length) == 3 && first == 3 && length[1] == 4
	}
	if single || says == sayPhone {
		return true
	}
	if first == 4 && length[1] <= 2 { // a date: 1998-12-31 ...
		return false
	}
	return first >= 3 && len(length) <= 5
}

// landline reports whether the digits are a Chinese number with its area code: 010 and 02x with eight
// more, 03xx to 09xx with seven or eight.
func (num *digitsOf) landline(says tag) bool {
	d := num.d[:num.n]
	if d[0] != '0' || num.gaps&(gapOdd|gapDot) != 0 && says != sayPhone {
		return false
	}
	area := 4
	switch {
	case d[1] == '1' && d[2] == '0', d[1] == '2':
		area = 3
	case d[1] < '3':
		return false
	}
	if rest := num.n - area; rest != 8 && (rest != 7 || area == 3) || d[area] < '2' && says != sayPhone || d[area] == '0' {
		return false
	}
	return num.length[0] == area && num.groups <= 3 || says == sayPhone
}

// service reports whether the digits are a Chinese service number: 400 or 800 and seven more.
func (num *digitsOf) service(says tag) bool {
	d := num.d[:num.n]
	if num.n != 10 || d[0] != '4' && d[0] != '8' || d[1] != '0' || d[2] != '0' || num.gaps&gapOdd != 0 {
		return false
	}
	return num.groups > 1 && num.groups <= 4 && (num.length[0] == 3 || num.length[0] == 4) || says == sayPhone
}

// northAmerican reports whether the digits are a number of the North American plan: area code,
// exchange, four more; a 1 before them.
func (num *digitsOf) northAmerican(says tag, paren bool) bool {
	d, length := num.d[:num.n], num.length[:num.groups]
	if num.n == 11 && d[0] == '1' && length[0] == 1 && num.groups > 1 {
		d, length = d[1:], length[1:]
	}
	if len(d) != 10 || d[0] < '2' || d[1] == '9' || d[3] < '2' || num.gaps&gapOdd != 0 {
		return false
	}
	if len(length) == 1 {
		return says == sayPhone || says == sayCall
	}
	if len(length) != 3 || length[0] != 3 || length[1] != 3 {
		return false
	}
	return num.gaps&(gapDash|gapDot) != 0 || num.gaps&gapParen != 0 && paren || says != 0
}

// international reports whether the digits are a number with its country code, a plus sign before
// it.
func (num *digitsOf) international() bool {
	d := num.d[:num.n]
	if num.gaps&gapOdd != 0 && num.groups > 4 {
		return false
	}
	switch {
	case d[0] == '0':
		return false
	case d[0] == '1':
		return num.n == 11 && d[1] >= '2'
	case d[0] == '7':
		return num.n == 11
	case d[0] == '8' && d[1] == '6':
		return num.n == 13 && d[2] == '1' && d[3] >= '3' || num.n >= 11 && num.n <= 14 && (d[2] != '1' || d[3] == '0')
	}
	return num.n >= 9
}

// local reports whether the digits are a number without an area code. Only a word before them can
// tell: of the weaker ones, beside a number in groups.
func (num *digitsOf) local(says tag) bool {
	if says == 0 || says == sayOther || num.n > 12 || num.gaps&gapOdd != 0 {
		return false
	}
	d := num.d[:num.n]
	if d[0] == '0' || num.date() {
		return false
	}
	for _, n := range num.length[:num.groups] {
		if n < 3 {
			return false
		}
	}
	switch num.groups {
	case 1:
		return says == sayPhone && (num.n == 7 || num.n == 8 && d[0] >= '2')
	case 2:
		return num.length[1] == 4 && num.gaps == gapDash || says == sayPhone && num.length[1] == 4
	}
	return false
}

// date reports whether eight digits are a date.
func (num *digitsOf) date() bool {
	d := num.d[:num.n]
	if num.n != 8 || string(d[:2]) != "19" && string(d[:2]) != "20" {
		return false
	}
	month, day := (d[4]-'0')*10+d[5]-'0', (d[6]-'0')*10+d[7]-'0'
	return month >= 1 && month <= 12 && day >= 1 && day <= 31
}
