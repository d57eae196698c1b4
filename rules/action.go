package rules

// ActionOf returns what the hits of one event call for together: the strongest action of any of
// them that acts. Pass means that none does.
func ActionOf(hits []Hit) Action {
	strongest := Pass
	for i := range hits {
		if h := &hits[i]; h.acts() {
			strongest = max(strongest, h.action())
		}
	}
	return strongest
}

// acts reports whether the hit does anything: one of a shadow rule only leaves a trace.
func (h *Hit) acts() bool { return h.State == Live }

// action is what the hit calls for where it acts: its rule's action, but never more than that
// people look at it where it was read by sound or by shape.
func (h *Hit) action() Action {
	if h.Form.Weak() {
		return min(h.Rule.Action, Review)
	}
	return h.Rule.Action
}
