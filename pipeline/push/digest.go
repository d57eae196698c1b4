package push

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// normal is a policy as its digest sees it.
type normal struct {
	Form      int
	Version   string
	Zone      string
	Classes   []normalClass
	Channels  []normalName
	Groups    []normalGroup
	UserQuiet bool
	UserDaily bool
	Deadline  []string
	MaxAge    time.Duration
	Recall    time.Duration
	AutoHalts []AutoHalt `json:",omitempty"`
	// Left out where it is primary, which all policies were before they could say.
	Replicated bool `json:",omitempty"`
}

type normalName struct {
	Name string
	Code uint8
}

type normalClass struct {
	normalName
	Consent, Counted, Label bool
	Quiet                   quietRule
	OnCap                   capRule
	OnOutage                outageRule
	LocalRatio              float64
	Marketing               []string `json:",omitempty"`
}

type normalGroup struct {
	Name, Justification, Quiet string
	Forbidden, Personalised    tagSet
	Limits                     []normalLimit
}

type normalLimit struct {
	ID            string
	Tags          tagSet
	Rolling, Days int64
	Max           int
}

// sum returns the digest of the policy.
func (p *Policy) sum(groups []*group) (string, error) {
	n := normal{Form: 1, Version: p.version, Zone: p.zone, UserQuiet: p.userQuiet, UserDaily: p.userDaily,
		MaxAge: p.maxAge, Recall: p.recall, AutoHalts: p.autoHalts, Replicated: p.replicated}
	for _, c := range p.classes {
		n.Classes = append(n.Classes, normalClass{normalName{c.name, c.code}, c.consent, c.counted, c.label, c.quiet, c.onCap, c.onOutage, c.localRatio, slices.Sorted(slices.Values(c.marketing))})
	}
	slices.SortFunc(n.Classes, func(a, b normalClass) int { return cmp.Compare(a.Code, b.Code) })
	for name, code := range p.channels {
		n.Channels = append(n.Channels, normalName{name, code})
	}
	slices.SortFunc(n.Channels, func(a, b normalName) int { return cmp.Compare(a.Code, b.Code) })
	for name := range p.deadline {
		n.Deadline = append(n.Deadline, name)
	}
	slices.Sort(n.Deadline)
	for _, g := range groups { // sorted by name
		ng := normalGroup{Name: g.name, Justification: g.justification, Quiet: g.quiet.String(), Forbidden: g.forbidden, Personalised: g.personalised}
		for _, l := range g.limits {
			ng.Limits = append(ng.Limits, normalLimit{l.id, l.tags, l.rolling, l.days, l.max})
		}
		n.Groups = append(n.Groups, ng)
	}
	b, err := json.Marshal(n)
	if err != nil {
		return "", fmt.Errorf("write the normal form of the policy: %w", err)
	}
	h := sha256.Sum256(append([]byte("weir push policy\n"), b...))
	return hex.EncodeToString(h[:]), nil
}
