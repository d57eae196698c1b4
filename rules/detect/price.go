package detect

import (
	"strings"
	"sync"
)

// maxAmount is how many symbols an amount has. A longer run of numerals is none.
const maxAmount = 24

// What currencies are written with, before and behind an amount.
const (
	isSign  tag = iota + 1 // before the amount
	isYuan                 // behind it: 元 and what else is part of many words
	isPiece                // 块, which also counts pieces
	isMoney                // behind it, and nothing else
)

var currencies = sync.OnceValue(func() *lexicon {
	return newLexicon(map[tag]string{isSign: `¥ $ € £ ₩ ₹ ₽ ฿ ₫ us$ hk$ nt$ rmb cny usd eur hkd jpy gbp twd 人民币 usdt 美金 港币`})
})

var units = sync.OnceValue(func() *lexicon {
	return newLexicon(map[tag]string{
		isYuan:  `元 圆`,
		isPiece: `块`,
		isMoney: `块钱 元钱 元人民币 美元 美金 欧元 日元 日圆 韩元 港元 港币 英镑 澳元 加元 新台币 台币 卢布 泰铢 人民币 欧 rmb cny usd usdt eur hkd jpy gbp ¥ $ € £
			dollars dollar euros euro bucks yuan`,
	})
})

// findPrice finds an amount of money: a currency and a number, or a number and a currency.
func (sc *Scratch) findPrice(at int) (lo, hi int) {
	for i := at; i < len(sc.symbols); {
		if i = sc.seek(i, hasSign|hasAmount); i == len(sc.symbols) {
			break
		}
		if sc.at(i).has&hasAmount == 0 {
			if end := sc.signed(i); end > 0 {
				return i, end
			}
			i++
			continue
		}
		end := sc.amountEnd(i)
		if end == i {
			for sc.at(i).has&hasAmount != 0 { // too long, or no number
				i++
			}
			continue
		}
		if hi := sc.money(i, end); hi > 0 {
			if before := sc.at(i - 1); before.kind != letter && before.r != '第' && before.r != '公' && before.r != '.' {
				return i, hi
			}
		}
		i = end
	}
	return -1, -1
}

// multiple is what a character multiplies a number with, as a power of ten; 0 if it does not.
func multiple(r rune) int {
	switch r {
	case '十', '拾':
		return 1
	case '百', '佰':
		return 2
	case '千', '仟':
		return 3
	case '万':
		return 4
	case '亿':
		return 8
	}
	return 0
}

// signed returns the end of an amount behind a currency sign at a place, 0 if there is none.
func (sc *Scratch) signed(i int) int {
	tag, end, ok := currencies().at(sc, i, false)
	if !ok || tag != isSign {
		return 0
	}
	if before := sc.at(i - 1); before.latin() && sc.at(i).kind != han || strings.ContainsRune("$/\\`", before.r) {
		return 0
	}
	if sc.at(end).r == ':' {
		end++
	}
	end = sc.skip(end, blank, 1)
	amount := sc.amountEnd(end)
	if amount == end {
		return 0
	}
	short := sc.at(i).r == '$' && amount == end+1
	switch s := sc.at(amount); {
	case s.r == '.' && sc.at(amount+1).kind == digit:
		return 0
	case s.kind == letter && (s.r == 'k' || s.r == 'm' || s.r == 'b' || s.r == 'w') && !sc.at(amount+1).latin():
		return amount + 1
	case short && (s.r == '/' || s.r == '`' || s.r == '$' || s.r == ',' && sc.at(amount+1).r == '$' || s.r == '"' || s.r == '\'' || s.r == ')'):
		return 0 // the place of a group in a pattern
	case s.kind == letter:
		if _, hi, ok := units().at(sc, amount, false); ok {
			return hi
		}
		return 0
	}
	if hi := sc.unitEnd(amount, end); hi > 0 {
		return hi
	}
	return sc.afterRange(amount)
}

// afterRange returns the end of a second amount, to which a first one extends.
func (sc *Scratch) afterRange(amount int) int {
	if next := sc.rangeEnd(amount); next > amount {
		if end := sc.amountEnd(next); end > next && sc.at(end).kind != letter && sc.at(end).r != '%' && sc.at(end).r != '-' {
			return end
		}
	}
	return amount
}

// rangeEnd returns the place behind what stands between two amounts of a range.
func (sc *Scratch) rangeEnd(i int) int {
	j := sc.skip(i, blank, 1)
	switch sc.at(j).r {
	case '-', '~', '至', '到':
		j++
	default:
		return i
	}
	j = sc.skip(j, blank, 1)
	if _, end, ok := currencies().at(sc, j, false); ok {
		j = end
	}
	return j
}

// money returns the end of an amount with the currency behind it, 0 if there is none.
func (sc *Scratch) money(lo, amount int) int {
	if next := sc.rangeEnd(amount); next > amount {
		if end := sc.amountEnd(next); end > next {
			if hi := sc.unitEnd(end, next); hi > 0 {
				return hi
			}
		}
	}
	return sc.unitEnd(amount, lo)
}

// priced are what follows 块 or 元 where it is money: what is said of a price.
const priced = "钱一每左多起包的让卖到拿就能可了不以吧啊吗呢秒买搞出给收转入上下整现抢优红无免可即搞全请我你他换返送补定押租邮日报减封够还有是和或至全 "

// yuanWords are what follows 元 in words: 元素, 元旦.
const yuanWords = "素旦宵组桥里年培首帅老婴器"

// unitEnd returns the end of the currency behind an amount, 0 if there is none. What follows 块 by
// itself must not be what is counted in pieces.
func (sc *Scratch) unitEnd(i, lo int) int {
	i = sc.skip(i, blank, 1)
	tag, end, ok := units().at(sc, i, false)
	if !ok {
		return 0
	}
	next := sc.at(end)
	// Nine and a half: 九块九, 9元5角.
	k := end
	for k < end+2 && sc.at(k).digit >= 0 {
		k++
	}
	if k > end && tag != isMoney {
		switch s := sc.at(k); {
		case s.r == '毛' || s.r == '角' || s.r == '分':
			return k + 1
		case k > end+1 || s.has&hasAmount != 0 || s.kind == letter:
		case s.kind != han || next.r != '一' && strings.ContainsRune(priced, s.r):
			return k
		}
	}
	// A single numeral makes words with either: 一元, 两块.
	numeral := sc.at(lo).kind != digit && i-lo <= 1
	switch tag {
	case isYuan:
		if strings.ContainsRune(yuanWords, next.r) || sc.at(i).r == '圆' && next.kind == han {
			return 0
		}
		if sc.at(i-1).kind == blank && sc.at(lo).kind != digit {
			return 0
		}
		if numeral && next.kind == han && (next.digit < 0 && !strings.ContainsRune(priced, next.r) || sc.at(end+1).r == '次') {
			return 0
		}
	case isPiece:
		if next.kind == han && next.digit < 0 && !strings.ContainsRune(priced, next.r) {
			return 0
		}
		if numeral && (sc.at(lo).r == '一' || next.r == '一' || next.r == '的') {
			return 0
		}
	case isMoney:
		if sc.at(i).r == '$' && sc.at(sc.skip(end, blank, 1)).kind == digit || sc.at(i).r == '欧' && next.kind == han {
			return 0
		}
	}
	return end
}

// amountEnd returns the end of a number at a place, with thousands, decimals and multiples in
// digits or numerals; the place itself if there is none.
func (sc *Scratch) amountEnd(i int) int {
	begin, point := i, false
	numerals := sc.at(i).kind != digit
	if sc.at(i).digit < 0 && sc.at(i).r != '十' && sc.at(i).r != '拾' {
		if multiple(sc.at(i).r) == 0 {
			return begin
		}
		i++ // 百元 is no amount, 百二 neither
		for i < begin+maxAmount && sc.at(i).has&hasAmount != 0 {
			i++
		}
		return begin
	}
	for i <= begin+maxAmount {
		s := sc.at(i)
		next := sc.at(i + 1)
		switch {
		case s.digit >= 0:
			if numerals != (s.kind != digit) && i > begin && multiple(sc.at(i-1).r) == 0 && sc.at(i-1).digit < 0 {
				return i
			}
		case multiple(s.r) > 0:
		case s.r == ',' && next.kind == digit && sc.at(i+2).kind == digit && sc.at(i+3).kind == digit && sc.at(i+4).kind != digit && i > begin:
		case s.r == '.' && next.kind == digit && i > begin && !point:
			point = true
		case s.r == '点' && next.digit >= 0 && numerals:
		case s.r == ' ' && next.digit >= 0 && sc.apartDigits(i):
		case (s.r == 'k' || s.r == 'w') && !next.latin() && next.kind == han:
			return i + 1
		case (s.r == '多' || s.r == '余' || s.r == '来' || s.r == '几') && i > begin && (next.r == '元' || next.r == '块' || multiple(next.r) > 0):
		default:
			return i
		}
		i++
	}
	return begin
}

// apartDigits reports whether the blank at a place stands between two single digits of at least
// three.
func (sc *Scratch) apartDigits(i int) bool {
	alone := func(k int) bool {
		return sc.at(k).digit >= 0 && sc.at(k-1).digit < 0 && sc.at(k+1).digit < 0
	}
	return alone(i-1) && alone(i+1) && (alone(i-3) && sc.at(i-2).r == ' ' || alone(i+3) && sc.at(i+2).r == ' ')
}
