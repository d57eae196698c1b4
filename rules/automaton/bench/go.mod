module github.com/weir-moderation/weir/rules/automaton/bench

go 1.26.0

require (
	github.com/cloudflare/ahocorasick v0.0.0-20240916140611-054963ec9396
	github.com/weir-moderation/weir v0.0.0
	golang.org/x/sys v0.50.0
)

replace github.com/weir-moderation/weir => ../../..
