package push

import (
	"fmt"
	"strings"
)

// maxLogBound is the most entries a policy may make necessary per user: a log is
// read and written whole.
const maxLogBound = 128

// bound returns the most counted entries that can be in the log of a user of the
// group, and the sum it comes from. Each tag is charged to one limit that covers
// it, the cheapest first: a limit of max pushes in a window allows at most max
// for each window that the time its tags are kept for can touch.
func (g *group) bound(counted tagSet, keep *[numTags]int64) (total int, sum string) {
	var terms []string
	open := counted &^ g.forbidden
	for open != 0 {
		best, price, take := -1, 0, tagSet(0)
		for i := range g.limits {
			l := &g.limits[i]
			covers := l.tags & open
			if covers == 0 {
				continue
			}
			span := int64(0)
			for t := range Tag(numTags) {
				if covers.has(t) {
					span = max(span, keep[t])
				}
			}
			// Price per tag, compared without division.
			if n := l.max * l.windows(span); best < 0 || n*take.size() < price*covers.size() {
				best, price, take = i, n, covers
			}
		}
		if best < 0 {
			break // a class without a cap; reported by itself
		}
		l := &g.limits[best]
		terms = append(terms, fmt.Sprintf("%s %d x %d", l.id, l.max, price/l.max))
		total += price
		open &^= take
	}
	return total, strings.Join(terms, " + ")
}

// windows returns how many windows of the limit any span of seconds can touch.
// Rolling windows can be laid side by side from its begin. Calendar days cannot:
// a span begins and ends within one, and days are shorter when clocks go forward.
func (l *limit) windows(span int64) int {
	if l.days > 0 {
		dates := ceil(span+slack-1, secondsADay) + 1
		return int(ceil(dates, l.days))
	}
	return int(ceil(span, l.rolling))
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }
