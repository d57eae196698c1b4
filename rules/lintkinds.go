package rules

// FindingKind is a word for what lint finds. The list is closed; see [FindingKinds].
type FindingKind string

// The kinds of findings.
const (
	RepeatedTerm      FindingKind = "repeated-term"
	ShadowedTerm      FindingKind = "shadowed-term"
	DuplicateTerm     FindingKind = "duplicate-term"
	ExceptedTerm      FindingKind = "excepted-term"
	CancelledTerm     FindingKind = "cancelled-term"
	PartOfWord        FindingKind = "part-of-word"
	BenignHit         FindingKind = "benign-hit"
	OverlappingLists  FindingKind = "overlapping-lists"
	UnreachableRule   FindingKind = "unreachable-rule"
	IdleException     FindingKind = "idle-exception"
	ExpiredException  FindingKind = "expired-exception"
	ExpiringException FindingKind = "expiring-exception"
	BareException     FindingKind = "bare-exception"
	MissingTest       FindingKind = "missing-test"
	NoDescription     FindingKind = "no-description"
	NoContact         FindingKind = "no-contact"
	NoBasis           FindingKind = "no-basis"
	PartialRollout    FindingKind = "partial-rollout"
	Unused            FindingKind = "unused"
)

// FindingKindText explains a kind of findings.
type FindingKindText struct {
	Kind FindingKind
	Text string // what is found
	Why  string // why it is worth a look
}

// FindingKinds returns every kind of findings with what it means.
func FindingKinds() []FindingKindText {
	return []FindingKindText{
		{RepeatedTerm, "a term that is in its list already, after folding, by a group or a file",
			"It is passed over: whoever changes how it is read there changes nothing. Written twice in one list by hand it is an error."},
		{ShadowedTerm, "a term inside which a shorter one of its list always stands that is read in all the same forms",
			"It adds no hit and hides that from whoever looks for what a rule does. Not told of rules that count different terms or have a condition, " +
				"nor of Chinese terms that are read by sound or shape, where a shorter one is not found."},
		{DuplicateTerm, "a term that decides alone in two live rules of one category, for the same events",
			"Every hit is told and counted twice, and an exception or a state that one of the two has does not help."},
		{ExceptedTerm, "a term that is itself an exception of its rule",
			"It can never hit. Between a rule and an exception of its own it is an error; this one comes from a shared list."},
		{CancelledTerm, "a term of a combination inside which one of none always stands",
			"It can never be a part of a hit."},
		{PartOfWord, "a rule, or a term that decides alone, that hits in an ordinary word of the word lists, of which the term is only a part, or which only reads like it in one of its forms",
			"Ordinary words only spare a term across whose edge they lie; one that holds the whole term, as 大麻哈鱼 (a fish) holds 大麻, needs an exception. " +
				"A term that is itself such a word is no finding."},
		{BenignHit, "a rule, or a term that decides alone, that hits more of the benign texts of --corpus than --max-rate",
			"That is how many posts in error it will bring before people, or reject."},
		{OverlappingLists, "a term of a combination that fills two of its lists at once",
			"The combination asks for two things and is content with one. A rule of its own says the same in plain words, or the term is in the wrong list."},
		{UnreachableRule, "a rule that can never hit: none of a list's terms can, distinct asks for more terms than can, or within is narrower than what it asks for",
			"It looks like protection and is none."},
		{IdleException, "an exception that spares nothing: a shared one that covers no term of any rule that uses it, one whose term could not stand there anyhow, or one inside which a shorter exception covers as much for as long",
			"Whoever takes the other one out believes that this one holds."},
		{ExpiredException, "an exception whose last day is over",
			"It is not in force any more; what it spared hits. Give it another day, or take it out."},
		{ExpiringException, "an exception that ends within 30 days",
			"Its owner has time to decide."},
		{BareException, "exceptions of a rule that say not who wants them, why and until when; told once a rule",
			"Nobody can tell later whether they may go. An exception is a hole in a rule; it should not be without an owner."},
		{MissingTest, "a live rule that no case hits, or that no case names in spares; canaries are not meant",
			"A rule without a case that hits may have stopped working; one without a case that it must spare has never been thought through. Canaries are tried at every load."},
		{NoDescription, "a live rule without description or description_zh; canaries are not meant",
			"Reviewers and users are told by it what was found, in either language."},
		{NoContact, "a live rule without a contact, in it or in its pack; canaries are not meant", "Somebody must answer for it when it errs."},
		{NoBasis, "a live rule without basis; canaries are not meant",
			"A notice to a user and a report to a regulator name the clause; it is known best by whoever writes the rule."},
		{PartialRollout, "a live rule that acts on a part of the users only",
			"A roll-out is a passage, not a place to stay: raise it to 100, or set the rule back to shadow."},
		{Unused, "a group, a shared list of exceptions or a text file beside the packs that no rule names",
			"Whoever changes it believes that something changes."},
	}
}
