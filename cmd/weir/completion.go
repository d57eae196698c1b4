package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Run prints what the shell needs to complete verbs, flags and their values. It is made of the command line itself, so it
// lists what this binary takes.
func (c completionCmd) Run(s streams, app *kong.Application) error {
	verbs := completions(app.Node, "")
	switch c.Shell {
	case "zsh":
		return zshCompletion(s.out, verbs)
	case "fish":
		return fishCompletion(s.out, verbs)
	}
	return bashCompletion(s.out, verbs)
}

// completable is a place on the command line, and what may stand there.
type completable struct {
	at    string // the verbs so far, each after a space; empty at the beginning
	verbs []*kong.Node
	flags []*kong.Flag
	words []string // the words an argument is taken from
}

// completions lists all places from a node on.
func completions(n *kong.Node, at string) []completable {
	here := completable{at: at}
	for _, group := range n.AllFlags(true) {
		here.flags = append(here.flags, group...)
	}
	for _, p := range n.Positional {
		if p.Enum != "" {
			here.words = append(here.words, p.EnumSlice()...)
		}
	}
	var below []completable
	for _, child := range n.Children {
		if child.Hidden || child.Type != kong.CommandNode {
			continue
		}
		here.verbs = append(here.verbs, child)
		below = append(below, completions(child, at+" "+child.Name)...)
	}
	return append([]completable{here}, below...)
}

// takesValue reports whether the word after a flag is its value.
func takesValue(f *kong.Flag) bool { return !f.IsBool() && !f.IsCounter() }

// brief is the first sentence of a help text, in single quotes of a shell.
func brief(help string) string {
	if i := strings.Index(help, ". "); i > 0 {
		help = help[:i]
	}
	return strings.NewReplacer(`'`, "", `\`, "", ":", "").Replace(strings.TrimSuffix(help, "."))
}

// known is a pattern of case, in bash and zsh, of all places but the beginning.
func known(verbs []completable) string {
	var list []string
	for _, v := range verbs[1:] {
		list = append(list, fmt.Sprintf("%q", v.at))
	}
	return strings.Join(list, " | ")
}

// values writes the cases in which the word before is a flag that takes a value: reply is what is done with a list of words, files what is done with none.
func values(b *strings.Builder, verbs []completable, reply func(words string) string, files string) {
	for _, v := range verbs {
		for _, f := range v.flags {
			switch {
			case !takesValue(f):
			case f.Enum != "":
				fmt.Fprintf(b, "    %q) %s; return ;;\n", v.at+" --"+f.Name, reply(strings.Join(f.EnumSlice(), " ")))
			default:
				fmt.Fprintf(b, "    %q) %s; return ;;\n", v.at+" --"+f.Name, files)
			}
		}
	}
}

func bashCompletion(w io.Writer, verbs []completable) error {
	var b strings.Builder
	b.WriteString("# Completion of weir for bash; source it, or put it into /usr/share/bash-completion/completions/weir.\n_weir() {\n")
	b.WriteString("  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} at= i words=\n")
	b.WriteString("  for ((i = 1; i < COMP_CWORD; i++)); do\n    case \"$at ${COMP_WORDS[i]}\" in\n")
	fmt.Fprintf(&b, "    %s) at+=\" ${COMP_WORDS[i]}\" ;;\n    esac\n  done\n  COMPREPLY=()\n  case \"$at $prev\" in\n", known(verbs))
	values(&b, verbs, func(words string) string { return fmt.Sprintf(`COMPREPLY=($(compgen -W %q -- "$cur"))`, words) }, "COMPREPLY=()")
	b.WriteString("  esac\n  case \"$at\" in\n")
	for _, v := range verbs {
		flags, rest := v.names()
		fmt.Fprintf(&b, "    %q) [[ $cur == -* ]] && words=%q || words=%q ;;\n", v.at, strings.Join(flags, " "), strings.Join(rest, " "))
	}
	b.WriteString("  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\n# Where nothing fits, files do.\ncomplete -o bashdefault -o default -F _weir weir\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// names returns the flags at a place, and the verbs and words.
func (v completable) names() (flags, rest []string) {
	for _, f := range v.flags {
		flags = append(flags, "--"+f.Name)
	}
	for _, n := range v.verbs {
		rest = append(rest, n.Name)
	}
	return flags, append(rest, v.words...)
}

func zshCompletion(w io.Writer, verbs []completable) error {
	var b strings.Builder
	b.WriteString("#compdef weir\n# Completion of weir for zsh; put it as _weir into a directory of $fpath.\n_weir() {\n")
	b.WriteString("  local cur=${words[CURRENT]} prev=${words[CURRENT-1]} at= i\n  local -a verbs flags\n")
	b.WriteString("  for ((i = 2; i < CURRENT; i++)); do\n    case \"$at ${words[i]}\" in\n")
	fmt.Fprintf(&b, "    %s) at+=\" ${words[i]}\" ;;\n    esac\n  done\n  case \"$at $prev\" in\n", known(verbs))
	values(&b, verbs, func(words string) string { return "compadd -- " + words }, "_files")
	b.WriteString("  esac\n  case \"$at\" in\n")
	for _, v := range verbs {
		fmt.Fprintf(&b, "    %q)\n      verbs=(", v.at)
		for _, n := range v.verbs {
			fmt.Fprintf(&b, "'%s:%s' ", n.Name, brief(n.Help))
		}
		for _, word := range v.words {
			fmt.Fprintf(&b, "'%s' ", word)
		}
		b.WriteString(")\n      flags=(")
		for _, f := range v.flags {
			fmt.Fprintf(&b, "'--%s:%s' ", f.Name, brief(f.Help))
		}
		b.WriteString(") ;;\n")
	}
	b.WriteString("  esac\n  if [[ $cur == -* ]]; then\n    _describe flag flags\n  elif (( $#verbs )); then\n    _describe verb verbs\n  else\n    _files\n  fi\n}\n")
	b.WriteString("if [[ $zsh_eval_context[-1] == loadautofunc ]]; then\n  _weir \"$@\"\nelse\n  compdef _weir weir\nfi\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func fishCompletion(w io.Writer, verbs []completable) error {
	var b strings.Builder
	b.WriteString("# Completion of weir for fish; put it into ~/.config/fish/completions/weir.fish.\nfunction __weir_at\n    set -l at ''\n")
	b.WriteString("    for word in (commandline -opc)[2..-1]\n        switch \"$at $word\"\n            case")
	for _, v := range verbs[1:] {
		fmt.Fprintf(&b, " '%s'", v.at)
	}
	b.WriteString("\n                set at \"$at $word\"\n        end\n    end\n    test \"$at\" = \"$argv[1]\"\nend\n")
	for _, v := range verbs {
		on := fmt.Sprintf("complete -c weir -n '__weir_at \"%s\"'", v.at)
		for _, n := range v.verbs {
			fmt.Fprintf(&b, "%s -f -a %s -d '%s'\n", on, n.Name, brief(n.Help))
		}
		for _, word := range v.words {
			fmt.Fprintf(&b, "%s -f -a %s\n", on, word)
		}
		for _, f := range v.flags {
			value := ""
			if f.Enum != "" {
				value = fmt.Sprintf(" -x -a '%s'", strings.Join(f.EnumSlice(), " "))
			} else if takesValue(f) {
				value = " -r"
			}
			fmt.Fprintf(&b, "%s -l %s%s -d '%s'\n", on, f.Name, value, brief(f.Help))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
