package detect_test

import (
	"fmt"

	"github.com/weir-moderation/weir/rules/detect"
)

func ExampleDetector_Find() {
	text := []byte("有事找 ①③⑧-0013-八零零零，别打 2026-11-28")
	var sc detect.Scratch // to be used again for the next text
	detect.Phone.Find(&sc, text, func(start, end int) bool {
		fmt.Println(start, end, string(text[start:end]))
		return true
	})
	// Output:
	// 10 37 ①③⑧-0013-八零零零
}
