// Package status shows a person what the agent does: one HTML page in the spirit of HAProxy's own, and the last decisions as JSON. It is
// read-only. It gets plain values and functions, and knows nothing of where they come from.
//
// The page is whole in itself: it loads nothing, runs no script and follows the reader's choice of a light or a dark screen. Everything in
// it that comes from outside is escaped, and characters that cannot be seen are made visible; see [Visible].
package status

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // the page and its style
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"
)

// explainTime is how long an explanation may take.
const explainTime = 5 * time.Second

// maxText is how much of an explanation is shown, in bytes.
const maxText = 64 << 10

// maxExplaining is how many explanations are made at once; who asks for one more is told to come again.
const maxExplaining = 2

// Config is what a Page is made of. All fields without a remark are required.
type Config struct {
	// State returns what is shown. It is called once per request.
	State func() State
	// Recorder has the last decisions.
	Recorder *Recorder
	// Explain says what is decided about a question, in lines of plain text. It must not change anything, and should end with ctx. Its
	// error is shown as well. Nil for a page without the form.
	Explain func(ctx context.Context, q Question) (string, error)
}

// Page is the page. It is an http.Handler, safe for concurrent use, and answers GET and HEAD alone.
type Page struct {
	cfg        Config
	page       *template.Template
	policy     string        // Content-Security-Policy
	explaining chan struct{} // one element per explanation under way
}

//go:embed page.html
var pageText string // never written

//go:embed style.css
var styleText string // never written

// New returns a page. It fails if a part is missing.
func New(cfg Config) (*Page, error) {
	if cfg.State == nil || cfg.Recorder == nil {
		return nil, errors.New("status page: State and Recorder are required")
	}
	page, err := template.New("page").Funcs(functions()).Parse(strings.Replace(pageText, "STYLE", styleText, 1))
	if err != nil {
		return nil, fmt.Errorf("status page: %w", err)
	}
	hash := sha256.Sum256([]byte(styleText))
	return &Page{
		cfg: cfg, page: page, explaining: make(chan struct{}, maxExplaining),
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
			"'; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
	}, nil
}

// ServeHTTP answers with the page. What it understands of a query is said at [View].
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	view, err := readView(r.URL.Query())
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	shown := page{View: view, State: p.cfg.State(), CanExplain: p.cfg.Explain != nil}
	shown.arrange()
	shown.Decisions = p.cfg.Recorder.Last(view.N, view.Filter)
	if shown.CanExplain && view.Question.asked() {
		shown.explain(p.explain(r.Context(), view.Question))
	}
	var b bytes.Buffer
	if err := p.page.Execute(&b, &shown); err != nil {
		refuse(w, http.StatusInternalServerError, fmt.Errorf("status page: %w", err))
		return
	}
	harden(w.Header())
	w.Header().Set("Content-Security-Policy", p.policy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes())
}

// explain asks for an explanation, within its bounds. What is asked is checked before.
func (p *Page) explain(ctx context.Context, q Question) (text string, err error) {
	if err := q.check(); err != nil {
		return "", err
	}
	select {
	case p.explaining <- struct{}{}:
	default:
		return "", errors.New("others are being explained at the moment, ask again")
	}
	defer func() { <-p.explaining }()
	ctx, cancel := context.WithTimeout(ctx, explainTime)
	defer cancel()
	return p.cfg.Explain(ctx, q)
}

// harden keeps an answer out of caches, frames and Referer fields, and has browsers take it as what it says it is.
func harden(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

func refuse(w http.ResponseWriter, status int, err error) {
	harden(w.Header())
	http.Error(w, Visible(err.Error()), status)
}
