package fold

// Numeral returns the value of a folded character that stands for one digit where
// Chinese numbers are written digit by digit: the common numerals, the financial
// ones, the counting rods of Suzhou, rare forms that Unicode knows as numerals, and
// the words that are said over the telephone for 0, 1, 7 and 9. Most of these are
// also ordinary words, so only a run of several digits may be taken for a number.
//
// Left out are what is more than one digit (十, 廿, 百), what counts things and is
// never read out in a number (俩, 仨), and what no number is written with today
// though a dictionary calls it a numeral (漆 for 7, 廾 for 9).
func Numeral(r rune) (d byte, ok bool) {
	switch r {
	case '〇', '零', '洞':
		return 0, true
	case '一', '壹', '壱', '弌', '幺', '〡', '𠤪':
		return 1, true
	case '二', '贰', '貮', '弍', '弐', '两', '㒃', '〢', '𢎐':
		return 2, true
	case '三', '叁', '参', '叄', '弎', '〣', '𠫽', '𪠡', '𢦘', '𣬛':
		return 3, true
	case '四', '肆', '亖', '〤', '𠁤', '𠃢', '𦉭':
		return 4, true
	case '五', '伍', '㐅', '㠪', '〥', '𠄡':
		return 5, true
	case '六', '陆', '〦', '𠫪':
		return 6, true
	case '七', '柒', '㭍', '拐', '〧', '𠀁':
		return 7, true
	case '八', '捌', '〨':
		return 8, true
	case '九', '玖', '勾', '〩':
		return 9, true
	}
	return 0, false
}
