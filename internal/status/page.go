package status

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"time"
)

//go:embed page.html.tmpl style.css script.js icon.svg
var files embed.FS

const (
	languageCookie = "weir-lang"
	themeCookie    = "weir-theme"
)

// policy lets the page use its own style, script, icon and events, and nothing else; nobody may frame it. There
// is nothing inline, so that a text that got into the page could not become a program.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// pages serves the page.
type pages struct {
	monitor   *Monitor
	templates map[language]*template.Template
	assets    map[string]asset // by path
}

// asset is a file of the page.
type asset struct {
	kind string
	text []byte
	mark string // of its content, for caches
}

// Serve adds the page, its files, the snapshot as JSON and the events to a mux. Whoever can reach it can read
// how Weir does, and change nothing.
func Serve(mux *http.ServeMux, m *Monitor) {
	p := &pages{monitor: m, templates: make(map[language]*template.Template), assets: make(map[string]asset)}
	for name, kind := range map[string]string{
		"style.css": "text/css; charset=utf-8", "script.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml",
	} {
		text, err := files.ReadFile(name)
		if err != nil {
			panic(err) // it is in the binary
		}
		sum := sha256.Sum256(text)
		p.assets["/status/"+name] = asset{kind, text, hex.EncodeToString(sum[:8])}
	}
	for _, l := range []language{english, chinese} {
		p.templates[l] = template.Must(template.New("page.html.tmpl").Funcs(p.funcs(l)).ParseFS(files, "page.html.tmpl"))
	}
	mux.HandleFunc("GET /{$}", p.page)
	mux.HandleFunc("GET /status.json", p.json)
	mux.HandleFunc("GET /status/events", p.events)
	for path := range p.assets {
		mux.HandleFunc("GET "+path, p.asset)
	}
}

// head sets what every answer has.
func head(w http.ResponseWriter, kind string) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
}

func (p *pages) asset(w http.ResponseWriter, r *http.Request) {
	a := p.assets[r.URL.Path]
	w.Header().Set("ETag", `"`+a.mark+`"`)
	if r.URL.Query().Get("v") == a.mark {
		w.Header().Set("Cache-Control", "max-age=31536000, immutable")
	} else {
		w.Header().Set("Cache-Control", "no-cache")
	}
	head(w, a.kind)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.text))
}

func (p *pages) json(w http.ResponseWriter, _ *http.Request) {
	s := p.monitor.Snapshot()
	if s == nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "weir has just started and has not looked yet", http.StatusServiceUnavailable)
		return
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	head(w, "application/json")
	_, _ = w.Write(append(text, '\n')) // who is gone is gone
}

// whole is what the page is drawn from.
type whole struct {
	Theme  string // auto, light or dark
	Middle *view  // nil before the first look
}

func (p *pages) page(w http.ResponseWriter, r *http.Request) {
	l, theme := languageOf(r), "auto"
	if c, err := r.Cookie(themeCookie); err == nil && slices.Contains(themes, c.Value) {
		theme = c.Value
	}
	if t := r.URL.Query().Get("theme"); slices.Contains(themes, t) {
		theme = t
		remember(w, themeCookie, theme)
	}
	if r.URL.Query().Has("lang") {
		remember(w, languageCookie, string(l))
	}
	s := p.monitor.Snapshot()
	data := whole{Theme: theme}
	if s != nil {
		data.Middle = newView(s, l)
	}
	var b bytes.Buffer
	if err := p.templates[l].Execute(&b, data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Add("Vary", "Accept-Language, Cookie")
	head(w, "text/html; charset=utf-8")
	if s == nil {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write(b.Bytes())
}

// themes can be asked for; auto is what the browser prefers.
var themes = []string{"auto", "light", "dark"}

// remember keeps a choice for a year, in the browser alone. No script needs it.
func remember(w http.ResponseWriter, name, value string) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: 365 * 24 * 3600, HttpOnly: true, SameSite: http.SameSiteStrictMode})
}

// fragment is what of the page changes.
func (p *pages) fragment(s *Snapshot, l language) ([]byte, error) {
	var b bytes.Buffer
	err := p.templates[l].ExecuteTemplate(&b, "middle", newView(s, l))
	return b.Bytes(), err
}

// funcs are what the template says things with.
func (p *pages) funcs(l language) template.FuncMap {
	say := func(key string, args ...any) (string, error) {
		w, ok := texts[key]
		if !ok {
			return "", fmt.Errorf("no words for %q", key)
		}
		if len(args) == 0 {
			return w.of(l), nil
		}
		return fmt.Sprintf(w.of(l), args...), nil
	}
	return template.FuncMap{
		"t":       say,
		"lang":    func() language { return l },
		"tag":     func() string { return map[language]string{english: "en", chinese: "zh-CN"}[l] },
		"n":       number[int64],
		"int":     func(n int) int64 { return int64(n) },
		"rate":    rate,
		"seconds": seconds,
		"size":    size,
		"span":    l.span,
		"window":  func(seconds float64) string { return l.span(time.Duration(seconds * float64(time.Second))) },
		"clock":   func(t time.Time) string { return t.UTC().Format("15:04:05") },
		"stamp":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"first":   func(n int, s string) string { return s[:min(n, len(s))] },
		"reason":  func(word string) string { return reasons[word].of(l) },
		"version": func(path string) string { return path + "?v=" + p.assets[path].mark },
		"themes":  func() []string { return themes },
		"sub":     func(a, b int64) int64 { return a - b },
	}
}
