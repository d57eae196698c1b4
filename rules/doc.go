// Package rules is Weir's knowledge of what is prohibited: packs of rules are
// read, checked, compiled into a [Set], and the set says which rules an event
// hits and where.
//
// A pack is one YAML file; a rule set is a directory of packs ([Load]). Every rule names
// one code of the category register ([ParseRegister]). Reading is strict: a pack
// with any fault is refused, and all faults of all packs are reported at once,
// by file, line and column, with what would be right.
//
//	pack: gambling
//	rules:
//	  - id: gambling.betting      # begins with the pack's name, unique in the whole set
//	    category: gambling        # a code of the register
//	    severity: high            # low | medium | high | critical; default: the category's
//	    action: review            # review | reject; default: the category's
//	    state: live               # draft | shadow | live | retired
//	    terms: [赌博, 百家乐]      # any of these
//	    except: [反赌博宣传]       # cancels only the occurrence it covers
//	  - id: gambling.invitation
//	    category: gambling
//	    state: live
//	    rollout: 25               # percent of users it acts on
//	    all:                      # something of every list
//	      - [注册, 开户]
//	      - [彩金, {text: VIP, case: exact, boundary: token}, {pattern: '[0-9]+倍'}]
//	      - [{detector: url}, {detector: messenger}]
//	    within: 40                # characters; or: sentence
//	    none: [警方]              # nothing of this near
//	    when: event.kind == "post" && hits.sure >= 3
//
// docs/rules.md has an example of everything there is.
//
// Terms are read in forms (package form): as they are after folding, and in the ways in which
// people hide them that the rule asks for. Where it does not say, [DefaultForms] of its severity
// hold. A hit names the forms it took; one that was read by sound or by shape is of low
// confidence. What has a shape instead of a spelling is found by detectors (package detect). A
// condition is asked only after a hit (package condition).
//
// Beside the packs lie tests ([LoadTests]): texts, and what must come of them. [Set.Explain] says of
// one event what was found, and of everything that is no hit why.
//
// What it is not: it decides nothing about users or pushes, keeps no state
// between events, and needs no Kafka, Redis or configuration file; it can be used
// as a library.
//
// The one thing to know: a Set never changes. To change the rules load a new one
// and let go of the old; what was judged under either is told apart by
// [Set.Digest].
package rules
