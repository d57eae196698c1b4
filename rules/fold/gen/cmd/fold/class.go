package main

// The classes, by their numbers in package fold.
const (
	other = iota
	token
	ideograph
	letter
	separator
	stop
)

// noBlanks are the scripts whose texts have no blanks between words, or, as Hangul,
// put endings and particles onto a word so that its end cannot be seen.
var noBlanks = map[string]bool{
	"Hiragana": true, "Katakana": true, "Bopomofo": true, "Hangul": true, "Yi": true,
	"Thai": true, "Lao": true, "Khmer": true, "Myanmar": true, "Tibetan": true,
	"Tai_Le": true, "New_Tai_Lue": true, "Tai_Tham": true, "Tai_Viet": true,
	"Javanese": true, "Balinese": true, "Tangut": true, "Nushu": true, "Khitan_Small_Script": true,
}

// classes returns the class of each character that folds to itself. stops and
// others are the hand-written exceptions.
func (f *folder) class(r rune, except map[rune]int) int {
	if c, ok := except[r]; ok {
		return c
	}
	switch {
	case 0xD800 <= r && r <= 0xDFFF, r == 0xFFFD:
		return other
	case f.property["Terminal_Punctuation"][r]:
		return stop
	case f.script[r] == "Han", f.property["Ideographic"][r] && !noBlanks[f.script[r]]:
		return ideograph
	}
	switch f.category[r] {
	case "Uppercase_Letter", "Lowercase_Letter", "Titlecase_Letter", "Modifier_Letter", "Other_Letter",
		"Spacing_Mark", "Decimal_Number", "Letter_Number", "Other_Number":
		switch s := f.script[r]; {
		case noBlanks[s]:
			return letter
		case s != "Common" || f.category[r] == "Decimal_Number":
			return token
		}
	}
	return separator
}

// readExceptions reads classes.txt.
func readExceptions() (map[rune]int, error) {
	except := map[rune]int{}
	for class, name := range []string{token: "token", letter: "letter", separator: "separator", stop: "stop"} {
		if name == "" {
			continue
		}
		list, err := readList("classes.txt", name)
		if err != nil {
			return nil, err
		}
		for r := range list {
			except[r] = class
		}
	}
	return except, nil
}
