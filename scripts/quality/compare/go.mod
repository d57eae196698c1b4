module github.com/weir-moderation/weir/scripts/quality/compare

go 1.26.0

require (
	github.com/TwiN/go-away v1.6.13
	github.com/cloudflare/ahocorasick v0.0.0-20240916140611-054963ec9396
)

require golang.org/x/text v0.14.0 // indirect
