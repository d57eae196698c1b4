module github.com/weir-moderation/weir/rules/fold/gen

go 1.26.0

require (
	github.com/mozillazg/go-pinyin v0.21.0
	github.com/weir-moderation/weir v0.0.0
	golang.org/x/text v0.43.0
)

replace github.com/weir-moderation/weir => ../../..
