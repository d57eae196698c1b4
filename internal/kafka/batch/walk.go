package batch

// End returns the offset after the last whole batch in data, which was fetched
// from an offset, without looking into the batches. It returns false if anything
// is not as it should be: then only a [Reader] can say where reading goes on.
//
// What it says is a forecast, to fetch ahead by: no checksum was looked at.
func End(data []byte, offset int64) (int64, bool) {
	next := offset
	for len(data) > 0 {
		whole, why := frame(data)
		if why == ReasonLength && whole > len(data) && next > offset {
			return next, true // the last one is cut off
		}
		if why != "" {
			return 0, false
		}
		last, ok := lastOf(data[:whole])
		if !ok || last < next {
			return 0, false
		}
		next = last + 1
		data = data[whole:]
	}
	return next, next > offset
}
