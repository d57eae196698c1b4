package detect

import (
	"strings"
	"sync"
)

// The messengers, as tags of their names.
const (
	weChat    tag = iota + 1
	weChatMay     // a name that is also something else: an id must follow a colon
	qq
	qqMay
	telegram
	telegramMay
	telegramAt // an address of it: an id follows at once
	whatsApp
	whatsAppMay
	whatsAppAt
	line
	lineMay
	signal
	same // says that the number before is one, too
)

// names are the names of messengers as people write them.
var names = sync.OnceValue(func() *lexicon {
	return newLexicon(map[tag]string{
		weChat: `微信 wei信 威信 薇信 徽信 溦信 维信 围信 微x 薇x 微芯 v信 v❤ v♥ 薇❤ 微❤ ❤信 wechat weixin weix vx wx vxin +v +vx +wx +薇 +微 +威 +徽 加v 加vx 加wx 加薇
			加微 加威 加徽 加个v 加个薇 加个微 加卫星 ➕v ➕vx ➕薇 ➕微 ➕威 ✚v 私薇 私v 私vx 加微信 绿泡泡 绿泡`,
		weChatMay:   `v 薇 微 威 徽 卫星 丨信`,
		qq:          `qq 扣扣 蔻蔻 球球 加q 加扣 +q +扣 ➕q ➕扣 扣群 q群 q裙 qq群 qq裙 企鹅号 企鹅群 抠抠 抠抠群 企鹅 🐧 ➕🐧 +🐧 加🐧`,
		qqMay:       `q 扣 抠`,
		telegram:    `telegram tg 电报 纸飞机 小飞机 加tg 加飞机 +tg +飞机 tele_gram`,
		telegramMay: `飞机 tele`,
		telegramAt:  `t.me/ telegram.me/ telegram.dog/ t点me/`,
		whatsApp:    `whatsapp whats_app what's_app 加wa +wa ws号 wa号`,
		whatsAppMay: `wa ws`,
		whatsAppAt:  `wa.me/ api.whatsapp.com/send?phone=`,
		line:        `line_id 加line line号 +line line账号 加赖 +赖 赖id line@ 赖号 lineid line:@`,
		lineMay:     `line 赖`,
		signal:      `signal`,
		same:        `微信同号 同微信 vx同号 wx同号 v同号 微同 微同号 v同 同v 同vx 薇同号 威信同号 微信同步 qq同号 同qq qq微信同号 电话微信同号 手机微信同号`,
	})
})

// links are the words between a messenger's name and an id.
var links = sync.OnceValue(func() *lexicon {
	return newLexicon(map[tag]string{1: `号 号码 账号 帐号 id 群 裙 群号 是 为 加 加我 联系 联系方式 咨询 客服 搜 搜索 找 找我 我 私聊 领取 is my me add at on number no acc
		account username user name handle contact group 微信 薇信 威信 vx wx qq 扣扣 号是 添加 请加 私 戳 滴滴 上`})
})

// counters are what follows a number that counts something.
const counters = "人次元块万亿个名位年条首集款天分只月日号楼%版点版本级岁米斤台部辆"

// Limits of what a messenger is followed by.
const (
	maxLink      = 8  // symbols of one run of separators
	maxLinkWords = 3  // words
	minID        = 5  // symbols of an id, digits of a number
	maxID        = 32 // symbols
	maxQQ        = 11 // digits
)

// findMessenger finds a messenger's name and an id behind it, or a number before a word that says
// it is one.
func (sc *Scratch) findMessenger(at int) (lo, hi int) {
	for i := sc.seek(at, hasName); i < len(sc.symbols); i = sc.seek(i+1, hasName) {
		tag, end, ok := names().at(sc, i, true)
		if !ok || tag != whatsAppAt && tag != telegramAt && sc.inURL(i) {
			continue
		}
		if tag == same {
			if lo := sc.numberBefore(i, at); lo >= 0 {
				return lo, sc.closed(i, end)
			}
			continue
		}
		if hi := sc.idBehind(tag, end); hi > 0 {
			return i, hi
		}
		if lo, hi := sc.handleBefore(tag, i, end, at); lo >= 0 {
			return lo, hi
		}
	}
	return -1, -1
}

// inURL reports whether letters at a place look like part of a URL: a path, a parameter.
func (sc *Scratch) inURL(i int) bool {
	before := sc.at(i - 1).r
	return sc.at(i).kind == letter && (before == '?' || before == '&' || before == '=' || before == '/' && sc.at(i-2).latin())
}

// link is what stands between a name and an id.
type link struct {
	end   int
	words int
	colon bool
	sign  rune // @ or +, before the id
}

// linkAt reads what links a name that ends at a place with an id.
func (sc *Scratch) linkAt(i int) link {
	l := link{}
	for {
		n := i
		for i < n+maxLink {
			s := sc.at(i)
			if s.kind == mark && !strings.ContainsRune("%$¥&_", s.r) || s.kind == blank || s.kind == newline || s.r == ':' {
				l.colon = l.colon || s.r == ':' || s.r == '=' || s.r == '>' || s.r == '→' || s.r == '➡' || s.r == '👉' || s.r == '【' || s.r == '「'
				if l.sign = 0; s.r == '@' || s.r == '+' {
					l.sign = s.r
				}
				i++
				continue
			}
			break
		}
		if l.words < maxLinkWords {
			if _, end, ok := links().at(sc, i, false); ok && (!sc.at(end-1).latin() || !sc.at(end).latin()) {
				l.words++
				i = end
				continue
			}
		}
		l.end = i
		return l
	}
}

// idBehind returns the end of an id that stands behind a messenger's name, 0 if there is none.
func (sc *Scratch) idBehind(name tag, i int) int {
	if name == telegramAt || name == whatsAppAt {
		if sc.at(i).r == '+' {
			i++
		}
		end := i
		for end < i+maxID {
			r := sc.at(end).r
			if !sc.at(end).latin() && r != '_' && (r != '/' && r != '-' || !sc.at(end+1).latin()) {
				break
			}
			end++
		}
		if end-i < minID {
			return 0
		}
		return end
	}
	l := sc.linkAt(i)
	strong := l.colon || l.words > 0 || l.sign != 0
	switch name {
	case weChat, weChatMay:
		if name == weChatMay && !l.colon {
			return 0
		}
		if hi := sc.numberID(l.end, maxQQ); hi > 0 {
			return hi
		}
		return sc.nameID(l.end, strong && name == weChat, l.sign == '@')
	case qq, qqMay:
		if name == qqMay && !l.colon || sc.at(l.end).digit == 0 {
			return 0
		}
		return sc.numberID(l.end, maxQQ)
	case telegram, telegramMay:
		if name == telegramMay && !l.colon && l.sign == 0 {
			return 0
		}
		if sc.at(l.end).digit >= 0 {
			if l.sign == '+' {
				return sc.longNumber(l.end)
			}
			return 0
		}
		return sc.nameID(l.end, strong, l.sign == '@')
	case whatsApp, whatsAppMay:
		if name == whatsAppMay && !l.colon && l.sign != '+' {
			return 0
		}
		return sc.longNumber(l.end)
	case lineMay:
		if !l.colon && l.sign != '@' {
			return 0
		}
		return sc.nameID(l.end, false, l.sign == '@')
	case line:
		if hi := sc.nameID(l.end, true, l.sign == '@'); hi > 0 {
			return hi
		}
		return sc.numberID(l.end, maxQQ)
	case signal:
		if l.sign == '+' {
			return sc.longNumber(l.end)
		}
		if hi := sc.longNumber(l.end); hi-l.end >= 12 { // ten digits in groups
			return hi
		}
		if end := sc.nameEnd(l.end); end > l.end && strong && sc.at(l.end).kind == letter && sc.at(end).r == '.' {
			if hi := sc.skip(end+1, digit, 4); hi >= end+3 && !sc.at(hi).latin() {
				return hi // name.01
			}
		}
	}
	return 0
}

// numberID returns the end of an id of digits: in one group, or in several as long as they are
// no more than limit.
func (sc *Scratch) numberID(i, limit int) int {
	n, first, end, groups, dots := 0, 0, 0, 0, false
	for sc.at(i).digit >= 0 {
		from := i
		for sc.at(i).digit >= 0 && i-from <= limit {
			i++
		}
		if n+i-from > limit {
			if groups == 0 {
				return 0
			}
			break
		}
		n += i - from
		groups++
		end = i
		if groups == 1 {
			first = n
		}
		g := i
		for i < g+maxGap && (sc.at(i).kind == blank || sc.at(i).kind == mark && !noGap(sc.at(i).r)) {
			dots = dots || sc.at(i).r == '.' && sc.at(i+1).digit >= 0
			i++
		}
		if first >= minID && first != 7 { // what follows is another number, other than in 1380013 8000
			break
		}
	}
	if n < minID || dots && n < mobileDigits && groups < n {
		return 0
	}
	switch s := sc.at(end); {
	case s.kind == letter || s.digit >= 0 || s.r == '@':
		return 0
	case s.r == '.' && sc.at(end+1).latin():
		return 0
	default:
		for _, c := range counters {
			if s.r == c && (c != '号' || n < 7) {
				return 0
			}
		}
	}
	return end
}

// longNumber returns the end of a phone number with its country code.
func (sc *Scratch) longNumber(i int) int {
	n, end := 0, 0
	for sc.at(i).digit >= 0 {
		from := i
		for sc.at(i).digit >= 0 && n+i-from <= maxPhone {
			i++
		}
		if n += i - from; n > maxPhone {
			return 0
		}
		end = i
		g := i
		for i < g+maxGap && (sc.at(i).kind == blank || sc.at(i).kind == mark && !noGap(sc.at(i).r)) {
			i++
		}
	}
	if s := sc.at(end); n < minPhone || s.kind == letter || s.r == '.' && sc.at(end+1).latin() {
		return 0
	}
	return end
}

// nameEnd returns the place behind letters, digits, dashes and underscores.
func (sc *Scratch) nameEnd(i int) int {
	end := i
	for end <= i+maxID && (sc.at(end).latin() || sc.at(end).r == '_' || sc.at(end).r == '-' && sc.at(end+1).latin()) {
		end++
	}
	return end
}

var (
	// versions are what a name ends in a number after.
	versions = listOf(`iphone android windows window ios mac macos office version ver covid gpt mate win redmi pad ipad note chrome
		python api sdk build app html mp http https top v`)
	// plain words are no ids, even behind a colon.
	ordinary = listOf(`android iphone windows please payments payment wechat wechatpay official service support message messages group
		groups contact channel channels online download desktop signal whatsapp telegram mobile premium sticker stickers scanner
		business follow update account mini program https number search settings login users emoji video store photos client server
		only available coming closed unavailable not none here there music browser international moments`)
)

// nameID returns the end of an id that begins with a letter. It has a digit or an underscore, or
// something before it says that an id follows.
func (sc *Scratch) nameID(i int, strong, handle bool) int {
	if sc.at(i).kind != letter && sc.at(i).r != '_' {
		return 0
	}
	end := sc.nameEnd(i)
	if end == i+1 { // letters apart
		end = sc.apartEnd(i)
	}
	if end-i < minID || end-i > maxID {
		return 0
	}
	switch s := sc.at(end); {
	case s.r == '(' && sc.at(end-1).latin() && sc.at(end+1).kind != han, s.r == '@':
		return 0
	case (s.r == '.' || s.r == ':') && (sc.at(end+1).latin() || sc.at(end+1).r == '/'):
		return 0
	}
	if handle {
		return end
	}
	letters := i
	for letters < end && sc.at(letters).kind == letter {
		letters++
	}
	if sc.in(versions, span{i, letters}) || sc.in(ordinary, span{i, end}) {
		return 0
	}
	if sc.hasDigit(i, end) {
		return end
	}
	underscore := sc.at(letters).r == '_'
	next := sc.at(end)
	sentence := next.kind == blank && sc.at(end+1).kind == letter || next.r == '\'' || sc.at(letters).r == '-'
	if strong && !sentence || underscore && letters < end && strong {
		return end
	}
	return 0
}

func (sc *Scratch) hasDigit(lo, hi int) bool {
	for ; lo < hi; lo++ {
		if sc.at(lo).kind == digit {
			return true
		}
	}
	return false
}

// apartEnd returns the place behind letters and digits that one separator each stands between, and
// nothing else: a b c 1 2 3.
func (sc *Scratch) apartEnd(i int) int {
	end := i
	for end < i+2*maxID && sc.at(end).latin() && !sc.at(end+1).latin() {
		if s := sc.at(end + 1); (s.kind == blank || s.kind == mark) && sc.at(end+2).latin() && !sc.at(end+3).latin() {
			end += 2
			continue
		}
		end++
		break
	}
	if (end-i+1)/2 < minID || !sc.hasDigit(i, end) {
		return i
	}
	return end
}

// maxBefore is how far back from a name the number or handle is looked for that it is about.
const maxBefore = 40

// numberBefore returns the beginning of a number of 5 to 13 digits that ends before a place.
func (sc *Scratch) numberBefore(i, at int) int {
	begin := max(at, i-maxBefore)
	for i > begin && (sc.at(i-1).kind == blank || sc.at(i-1).r == '(' || sc.at(i-1).r == ',' || sc.at(i-1).r == '-' || sc.at(i-1).r == '/') {
		i--
	}
	n, lo := 0, -1
	for i > begin && sc.at(i-1).digit >= 0 {
		for i > begin && sc.at(i-1).digit >= 0 {
			i--
			n++
		}
		lo = i
		j := i
		for j > begin && i-j < 2 && (sc.at(j-1).kind == blank || sc.at(j-1).r == '-') {
			j--
		}
		if n >= mobileDigits {
			break
		}
		i = j
	}
	if n < minID || n > 13 || sc.at(lo-1).latin() {
		return -1
	}
	return lo
}

// closed returns the end of a word in brackets with the closing one.
func (sc *Scratch) closed(lo, hi int) int {
	if sc.at(lo-1).r == '(' && sc.at(hi).r == ')' {
		hi++
	}
	return hi
}

// handleBefore returns a handle before the name of Telegram, and the place behind the name:
// @name on Telegram, @name (TG).
func (sc *Scratch) handleBefore(name tag, i, end, at int) (lo, hi int) {
	if name != telegram {
		return -1, -1
	}
	begin := max(at, i-maxBefore)
	n := i
	for n > begin && (sc.at(n-1).kind == blank || sc.at(n-1).r == '(') {
		n--
	}
	if n >= begin+3 && sc.reads(n-3, " on") && sc.at(n-4).latin() {
		n -= 3
	}
	lo = n
	for lo > begin && (sc.at(lo-1).latin() || sc.at(lo-1).r == '_') {
		lo--
	}
	if lo <= begin && lo > at || n-lo < minID || sc.at(lo).kind != letter || sc.at(lo-1).r != '@' || lo-1 < at || sc.at(lo-2).latin() {
		return -1, -1
	}
	return lo - 1, sc.closed(i, end)
}
