//go:build linux

package detect

import (
	"bytes"
	"os"
	"regexp"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// dataDir is where the large samples lie.
func dataDir() string {
	if d := os.Getenv("WEIR_TEST_DATA"); d != "" {
		return d
	}
	return "../../../shared/data"
}

func posts(tb testing.TB, name string) [][]byte {
	b, err := os.ReadFile(dataDir() + "/" + name + ".txt")
	if err != nil {
		tb.Skip("no sample: ", err)
	}
	return bytes.Split(bytes.TrimSpace(b), []byte("\n"))
}

// patterns are what somebody would write who knows regular expressions. They see plain writing only.
var patterns = [...]*regexp.Regexp{
	URL:   regexp.MustCompile(`(?i)\b(?:https?://|www\.)\S+|\b(?:[a-z0-9-]+\.)+(?:com|cn|net|org|top|xyz|vip|cc)\b(?:/\S*)?`),
	Email: regexp.MustCompile(`(?i)\b[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,}\b`),
	Phone: regexp.MustCompile(`(?:\+?86[- ]?)?\b1[3-9]\d[- .]?\d{4}[- .]?\d{4}\b` +
		`|\b0\d{2,3}[- ]?\d{7,8}\b|\(?\b\d{3}\)?[- .]\d{3}[- .]\d{4}\b`),
	Messenger: regexp.MustCompile(`(?i)(?:微信|威信|薇信|加v|\bvx|\bwx|\bqq|扣扣|telegram|\btg|whatsapp|line id)` +
		`[号群:： @]*[a-z0-9_+-]{5,20}`),
	Price: regexp.MustCompile(`(?i)(?:[¥￥$€]|rmb|usd) ?\d[\d,.]*|\d[\d,.]*[万千百]?(?:元|块|rmb|usd)`),
}

// threadTime is how long the processor has worked for this thread. Neighbours do not count.
func threadTime(b *testing.B) time.Duration {
	const clock = 3 // CLOCK_THREAD_CPUTIME_ID
	var t syscall.Timespec
	if _, _, err := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&t)), 0); err != 0 {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// The detectors on real posts, in turns with regular expressions for the same things, by the
// processor time of the thread.
func BenchmarkFind(b *testing.B) {
	for _, name := range []string{"posts_zh_short", "posts_zh_long", "posts_en"} {
		lines := posts(b, name)
		for d := URL; d <= Price+1; d++ {
			set, list, what := d.Set(), patterns[min(d, Price):min(d, Price)+1], "all"
			if d <= Price {
				what = d.String()
			} else {
				set, list = everything, patterns[:]
			}
			b.Run(name+"/"+what, func(b *testing.B) {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				var sc Scratch
				var own, other time.Duration
				n, size, hits, matches := 0, 0, 0, 0
				b.ReportAllocs()
				for b.Loop() {
					turn := lines[n%len(lines) : min(n%len(lines)+100, len(lines))]
					begin := threadTime(b)
					for _, l := range turn {
						set.Find(&sc, l, func(Detector, int, int) bool { hits++; return true })
					}
					middle := threadTime(b)
					own += middle - begin
					for _, l := range turn {
						for _, p := range list {
							for at := 0; ; {
								m := p.FindIndex(l[at:])
								if m == nil {
									break
								}
								matches++
								at += m[1]
							}
						}
						size += len(l)
					}
					other += threadTime(b) - middle
					n += len(turn)
				}
				b.ReportMetric(float64(own)/float64(n), "ns/post")
				b.ReportMetric(float64(size)/own.Seconds()/1e6, "MB/s")
				b.ReportMetric(float64(other)/float64(n), "regexp-ns/post")
				b.ReportMetric(float64(other)/float64(own), "x")
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(hits)/float64(n)*1000, "found/1000")
				b.ReportMetric(float64(matches)/float64(n)*1000, "regexp-found/1000")
			})
		}
	}
}
