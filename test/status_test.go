package test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"vertex-spoa/test/fake"
	"vertex-spoa/test/sandbox"
)

// chromium returns the path of the browser, or skips the test; `make test` says so at its end.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("NOT RUN: chromium is not installed: run `make chromium`")
	return ""
}

// browser is a running Chromium, whose tabs share nothing.
type browser struct{ ctx context.Context }

func startBrowser(t *testing.T) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium(t)), chromedp.UserDataDir(t.TempDir()),
		chromedp.WindowSize(1440, 1000), chromedp.Flag("hide-scrollbars", true))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // t's own ends before the browser is closed
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	t.Cleanup(func() { _ = chromedp.Cancel(ctx) })
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return &browser{ctx}
}

// tab is a page of the browser, and what it has complained of and asked for.
type tab struct {
	*testing.T
	ctx context.Context

	mu       sync.Mutex
	trouble  []string
	requests []string
}

func (b *browser) tab(t *testing.T) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	t.Cleanup(cancel)
	p := &tab{T: t, ctx: ctx}
	if err := chromedp.Listen(ctx, p.listen); err != nil {
		t.Fatal(err)
	}
	command(p, network.Enable, network.EnableParams{})
	command(p, log.Enable, cdp.Empty{})
	command(p, runtime.Enable, cdp.Empty{})
	return p
}

func (p *tab) listen(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		p.trouble = append(p.trouble, fmt.Sprintf("%s: %s", e.Entry.Level, e.Entry.Text))
	case *runtime.EventConsoleAPICalled:
		p.trouble = append(p.trouble, fmt.Sprintf("console %s", e.Type))
	case *runtime.EventExceptionThrown:
		p.trouble = append(p.trouble, e.ExceptionDetails.Text)
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, e.Request.URL)
	}
}

func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.Fatal(err)
	}
}

// command sends the browser a command of its protocol.
func command[P, R any](p *tab, c cdp.Command[P, R], params P) {
	p.Helper()
	if _, err := chromedp.Call(p.ctx, c, params); err != nil {
		p.Fatal(err)
	}
}

// eval evaluates an expression and reads its value.
func eval[T any](p *tab, expression string) T {
	p.Helper()
	value, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, func(e *runtime.EvaluateParams) { e.AwaitPromise = new(true) }))
	if err != nil {
		p.Fatal(err)
	}
	return value
}

func (p *tab) text() string { return eval[string](p, "document.body.innerText") }

// clean fails the test if the page has complained, or asked anybody but the agent for anything.
func (p *tab) clean(admin string) {
	p.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.trouble) > 0 {
		p.Errorf("the browser says %q", p.trouble)
	}
	if len(p.requests) == 0 {
		p.Error("the browser has asked for nothing")
	}
	for _, r := range p.requests {
		u, err := url.Parse(r)
		if err != nil || u.Scheme != "data" && ("http://"+u.Host != admin || u.Path != "/") {
			p.Errorf("the page has asked for %s", r)
		}
	}
}

// traffic makes calls of which each shows something else on the page.
func traffic(t *testing.T, s *sandbox.Sandbox) {
	t.Helper()
	const base = "/v1/projects/acme-ai/locations/europe-west1/publishers/google/models/"
	const prompt = `{"contents":[{"role":"user","parts":[{"text":"Say hello."}]}]}`
	for _, c := range []struct{ group, target, body string }{
		{"search-eng", base + "gemini-2.5-flash:generateContent", prompt},
		{"search-eng", base + "gemini-2.5-flash:streamGenerateContent?alt=sse", prompt},
		{"search-eng", base + "gemini-2.5-pro:generateContent", prompt},
		{"research", "/v1/projects/acme-ai/locations/us-central1/publishers/anthropic/models/claude-sonnet-4@20250514:rawPredict",
			`{"anthropic_version":"vertex-2023-10-16","max_tokens":9,"messages":[]}`},
		{"research", base + "gemini-3-pro-preview:countTokens", prompt},
		{"support", base + "gemini-2.5-flash:generateContent", `{"contents":[],"generationConfig":{"maxOutputTokens":9999}}`},
		{"search-eng", base + "gemini-2.5-flash-preview-09-2025:generateContent", prompt},
		{"guests", base + "gemini-2.5-flash:generateContent", prompt},
		{"<script>alert(1)</script>", base + "gemini-2.5-flash:generateContent", prompt},
		{"search-eng", "/v1/projects/acme-ai/locations/europe-west1/batchPredictionJobs", prompt},
		{"search-eng", base + "gemini-2.5-flash:generateContent", prompt},
		{"", base + "gemini-2.5-flash:generateContent", prompt},
	} {
		call := sandbox.Call{Target: c.target, Body: c.body}
		if c.group != "" {
			token, err := s.Caller(c.group)
			if err != nil {
				t.Fatal(err)
			}
			call.Token = token
		}
		if _, err := s.Do(t.Context(), call); err != nil {
			t.Fatal(err)
		}
	}
}

// breakPolicy has a reload refused.
func breakPolicy(t *testing.T, s *sandbox.Sandbox) {
	t.Helper()
	file := filepath.Join(s.PolicyDir(), "90-broken.yaml")
	if err := os.WriteFile(file, []byte("version: 1\nrules:\n  broken: { allow: nobody, models: \"*\" }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	reload(t, s, http.StatusUnprocessableEntity)
}

func reload(t *testing.T, s *sandbox.Sandbox, want int) {
	t.Helper()
	res, err := http.Post(s.AdminURL()+"/reload", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != want {
		t.Fatalf("reload: status %d, want %d", res.StatusCode, want)
	}
}

// TestStatusPage looks at the status page of the running program with a real browser.
func TestStatusPage(t *testing.T) {
	b := startBrowser(t)
	s := startSandbox(t, sandbox.Options{Closings: sandbox.ByDatagram, Parties: func(o *fake.Options) {
		delete(o.Accounts, sandbox.Indexer) // one account that cannot be had
	}})
	traffic(t, s)
	untilClosed(t, s) // the page stays as it is now
	admin := s.AdminURL()
	var plain string
	t.Run("it shows what has happened, loads nothing else and complains of nothing", func(t *testing.T) {
		p := b.tab(t)
		p.do(chromedp.Navigate(admin + "/?refresh=0"))
		plain = p.text()
		for _, want := range []string{
			"vertex-spoa", "search-eng@example.com", "NO_ROLE", "SURFACE_OFF", "DENIED", "search-gemini", "preview-models", "oncall-break-glass", "corp", "github", "k8s",
			sandbox.Search, sandbox.Indexer, "ACCOUNT_FORBIDDEN", "spop_connections", "policy_reloads_total", `<script>alert(1)</script>@example.com`,
			"claude-sonnet-4@20250514", "streamGenerateContent (stream) in europe-west1 of acme-ai", "gemini-2.5-flash-preview-09-2025",
		} {
			if !strings.Contains(plain, want) {
				t.Errorf("the page does not show %s", want)
			}
		}
		for _, secret := range slices.AppendSeq(s.Issued(), maps.Keys(s.World.Ledger.Tokens())) {
			if strings.Contains(plain, secret) || strings.Contains(eval[string](p, "document.documentElement.outerHTML"), secret) {
				t.Error("a token is in the page")
			}
		}
		if got := eval[string](p, "document.title"); got != "degraded · vertex-spoa" {
			t.Errorf("title %q", got)
		}
		p.clean(admin)
		p.do(chromedp.EmulateViewport(1200, 880), chromedp.Navigate(admin+"/"))
		picture(p, "status", chromedp.CaptureScreenshot())
	})
	t.Run("it needs no JavaScript", func(t *testing.T) {
		p := b.tab(t)
		command(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		p.do(chromedp.Navigate(admin + "/?refresh=0"))
		if got := p.text(); len(strings.Split(got, "\n")) != len(strings.Split(plain, "\n")) {
			t.Errorf("without JavaScript it has other lines:\n%s", got)
		}
		if got := eval[int](p, "document.scripts.length"); got != 0 {
			t.Errorf("it has %d scripts", got)
		}
		p.clean(admin)
	})
	t.Run("it refreshes itself, and can be stopped", func(t *testing.T) { testRefresh(t, b, s) })
	t.Run("it filters", func(t *testing.T) {
		p := b.tab(t)
		p.do(chromedp.Navigate(admin+"/?refresh=0"), chromedp.SetValue(chromedp.CSS(`select[name=decision]`), "deny"), chromedp.SetValue(chromedp.CSS(`input[name=subject]`), "guests"),
			chromedp.Submit(chromedp.CSS(`form[role=search]`)), chromedp.WaitVisible(chromedp.CSS(`a[href="?refresh=0"]:not([aria-current])`)))
		rows := eval[[]string](p, `[...document.querySelectorAll("#decisions tbody tr")].map(r => r.innerText)`)
		if len(rows) != 1 || !strings.Contains(rows[0], "guests@example.com") {
			t.Errorf("got rows %q, want the one of guests", rows)
		}
		p.do(chromedp.Click(chromedp.CSS(`#rules th a`)), chromedp.WaitVisible(chromedp.CSS(`input[name=rule][value]:not([value=""])`)))
		p.clean(admin)
	})
	t.Run("it explains", func(t *testing.T) { testExplain(t, b, admin) })
	t.Run("every part can be reached with the keyboard, and shows that it was", func(t *testing.T) { testKeyboard(t, b, admin) })
	breakPolicy(t, s)
	t.Run("contrast, names of things and a phone's screen", func(t *testing.T) { testSight(t, b, admin) })
}

// testRefresh waits for a decision that was not there when the page was loaded.
func testRefresh(t *testing.T, b *browser, s *sandbox.Sandbox) {
	p := b.tab(t)
	p.do(chromedp.Navigate(s.AdminURL() + "/?refresh=5&subject=latecomers"))
	if got := p.text(); strings.Contains(got, "latecomers@example.com") {
		t.Fatalf("it is there already:\n%s", got)
	}
	token, err := s.Caller("latecomers")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Do(t.Context(), sandbox.Call{Target: "/v1/x", Token: token, Body: "{}"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.WaitVisible(`//td//bdi[contains(., "latecomers@example.com")]`)); err != nil {
		t.Fatalf("it does not refresh itself: %v", err)
	}
	if got := eval[string](p, "location.search"); !strings.Contains(got, "latecomers") {
		t.Errorf("it has forgotten the filter: %s", got)
	}
	p.do(chromedp.Click(`//nav[@aria-label="Refresh"]//a[.="off"]`), chromedp.WaitVisible(chromedp.CSS(`nav a[aria-current][href*="refresh=0"]`)))
	if got := eval[int](p, `document.querySelectorAll("meta[http-equiv=refresh]").length`); got != 0 {
		t.Error("it cannot be stopped")
	}
	p.clean(s.AdminURL())
}

func testExplain(t *testing.T, b *browser, admin string) {
	p := b.tab(t)
	const call = "POST /v1/projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-flash:generateContent HTTP/1.1"
	explain := func(call, claims string) string {
		p.do(chromedp.Navigate(admin+"/"), chromedp.SetValue(chromedp.CSS(`input[name=call]`), call), chromedp.SetValue(chromedp.CSS(`textarea[name=claims]`), claims),
			chromedp.Submit(chromedp.CSS(`form.explain`)), chromedp.WaitVisible(chromedp.CSS(`pre`)))
		return eval[string](p, `document.querySelector("pre").innerText`)
	}
	for _, tt := range []struct{ claims, want string }{
		{`{"sub": "sam", "groups": ["search-eng"]}`, "decision  allow search search-gemini"},
		{`{"sub": "<b>sam</b>", "groups": ["nothing"]}`, "decision  deny NO_ROLE"},
		{`{"sub": "<b>sam</b>", "groups": ["nothing"]}`, "caller    <b>sam</b> of issuer corp"},
		{`not JSON`, "the claims are no JSON object"},
	} {
		if got := explain(call, tt.claims); !strings.Contains(got, tt.want) {
			t.Errorf("claims %s: got\n%s\nwant %s", tt.claims, got, tt.want)
		}
	}
	if got := explain("/v1/nonsense", `{}`); !strings.Contains(got, "SURFACE_OFF") && !strings.Contains(got, "BAD_TARGET") {
		t.Errorf("a call that is none: got\n%s", got)
	}
	if got := eval[string](p, `document.querySelector("input[name=call]").value`); got != "/v1/nonsense" {
		t.Errorf("the form has forgotten the call and has %q", got)
	}
	if got := eval[int](p, `document.querySelectorAll("meta[http-equiv=refresh]").length`); got != 0 {
		t.Error("it refreshes itself while it explains")
	}
	p.clean(admin)
}

const focusable = `a[href], button, input:not([type=hidden]), select, textarea, [tabindex="0"]`

// testKeyboard presses the tabulator until it has come around.
func testKeyboard(t *testing.T, b *browser, admin string) {
	p := b.tab(t)
	p.do(chromedp.Navigate(admin + "/?refresh=0"))
	want := eval[int](p, `(() => { let n = 0; for (const e of document.querySelectorAll('`+focusable+`')) e.dataset.n = n++; return n })()`)
	type focus struct {
		N       string
		Outline bool
		Visible bool
		What    string
	}
	var order []string
	for range want + 5 {
		p.do(chromedp.KeyEvent(kb.Tab))
		f := eval[focus](p, `(() => { const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
			return {N: e.dataset.n || "", Outline: s.outlineStyle != "none" && parseFloat(s.outlineWidth) >= 2, What: e.outerHTML.slice(0, 80),
				Visible: r.width > 0 && r.height > 0 && r.right > 0 && r.bottom > 0 && r.top < innerHeight} })()`)
		if f.N == "" || slices.Contains(order, f.N) {
			break
		}
		order = append(order, f.N)
		if !f.Outline && !strings.Contains(f.What, `class="skip"`) || !f.Visible {
			t.Errorf("the focus does not show (outline %t, in sight %t) on %s", f.Outline, f.Visible, f.What)
		}
	}
	if len(order) != want || !slices.IsSortedFunc(order, func(a, b string) int { return number(t, a) - number(t, b) }) {
		t.Errorf("the tabulator reaches %d of %d parts, in the order %v", len(order), want, order)
	}
	p.do(chromedp.Navigate(admin+"/?refresh=0"), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter))
	if got := eval[string](p, "location.hash + document.activeElement.id"); got != "#contentcontent" {
		t.Errorf("the first link leads to %q, want the content", got)
	}
}

func number(t *testing.T, s string) int {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// contrast finds text whose contrast is below that of WCAG 2.2, 1.4.3 (level AA).
const contrast = `(() => {
	const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return m.length == 3 ? [...m, 1] : m };
	const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
	const light = c => { const [r, g, b] = c.slice(0, 3).map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b };
	const ground = e => { if (!e) return parse(getComputedStyle(document.documentElement).colorScheme && matchMedia("(prefers-color-scheme: dark)").matches ? "rgb(0,0,0)" : "rgb(255,255,255)");
		const c = parse(getComputedStyle(e).backgroundColor); return c[3] == 1 ? c : over(c, ground(e.parentElement)) };
	const bad = []; let seen = 0;
	const check = (e, color, text) => { const s = getComputedStyle(e), back = ground(e), a = light(over(parse(color), back)), b = light(back);
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), px = parseFloat(s.fontSize);
		seen++;
		if (ratio < (px >= 24 || px >= 18.66 && s.fontWeight >= 700 ? 3 : 4.5)) bad.push(ratio.toFixed(2) + " " + e.tagName + "." + e.className + ": " + text.slice(0, 40)) };
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walk.nextNode()) { const e = walk.currentNode.parentElement, text = walk.currentNode.data.trim();
		if (text && e.getClientRects().length) check(e, getComputedStyle(e).color, text) }
	for (const e of document.querySelectorAll("input:not([type=hidden]), textarea, select, button")) { check(e, getComputedStyle(e).color, e.value);
		if (e.placeholder) check(e, getComputedStyle(e, "::placeholder").color, e.placeholder) }
	return {Bad: bad, Seen: seen};
})()`

// names finds what a reader with a screen reader would miss.
const names = `(() => { const bad = [], ids = {};
	if (document.documentElement.lang != "en") bad.push("no language");
	if (document.querySelectorAll("h1").length != 1 || document.querySelectorAll("main").length != 1) bad.push("not one h1 and one main");
	for (const e of document.querySelectorAll("[id]")) { if (ids[e.id]) bad.push("twice the id " + e.id); ids[e.id] = e }
	for (const e of document.querySelectorAll("[aria-labelledby]")) if (!ids[e.getAttribute("aria-labelledby")]) bad.push("no label " + e.outerHTML.slice(0, 60));
	for (const e of document.querySelectorAll("table")) { if (!e.caption || !e.caption.innerText.trim()) bad.push("a table without caption");
		if (!e.querySelector("thead th")) bad.push("a table without headers") }
	for (const e of document.querySelectorAll("th")) if (!e.scope) bad.push("a header without scope: " + e.innerText);
	for (const e of document.querySelectorAll("input:not([type=hidden]), select, textarea")) if (!e.labels.length) bad.push("no label: " + e.name);
	for (const e of document.querySelectorAll("a, button")) if (!e.innerText.trim()) bad.push("a link without text: " + e.outerHTML.slice(0, 60));
	for (const e of document.querySelectorAll("a[href^='#']")) if (!ids[e.getAttribute("href").slice(1)]) bad.push("leads nowhere: " + e.outerHTML);
	return bad })()`

// overflow finds what is wider than the screen, outside of what scrolls in itself.
const overflow = `(() => { const bad = [];
	if (document.documentElement.scrollWidth > innerWidth) bad.push("the page is " + document.documentElement.scrollWidth + " wide");
	for (const e of document.querySelectorAll("body *")) if (!e.closest(".scroll") || e.matches(".scroll")) { const r = e.getBoundingClientRect();
		if (r.width && r.right > innerWidth + 0.5) bad.push(e.outerHTML.slice(0, 80) + " ends at " + r.right) }
	return bad })()`

// testSight looks at the page in light and dark, on a desk and on a phone.
func testSight(t *testing.T, b *browser, admin string) {
	p := b.tab(t)
	query := url.Values{
		"refresh": {"0"}, "issuer": {"corp"}, "claims": {`{"sub": "sam", "groups": ["search-eng"]}`},
		"call": {"POST /v1/projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-flash:generateContent"},
	}
	for _, tt := range []struct {
		name, scheme  string
		width, height int64
		scale         float64
	}{{"light", "light", 1440, 900, 1}, {"dark", "dark", 1440, 900, 1}, {"phone", "light", 390, 844, 2}, {"phone-dark", "dark", 320, 640, 2}} {
		t.Run(tt.name, func(t *testing.T) {
			command(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: tt.scheme}}})
			command(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
				Width: tt.width, Height: tt.height, DeviceScaleFactor: tt.scale, Mobile: tt.width < 600,
			})
			p.do(chromedp.Navigate(admin + "/?" + query.Encode()))
			c := eval[struct {
				Bad  []string
				Seen int
			}](p, contrast)
			if len(c.Bad) > 0 || c.Seen < 200 {
				t.Errorf("of %d texts too little contrast have %q", c.Seen, c.Bad)
			}
			if bad := eval[[]string](p, names); len(bad) > 0 {
				t.Errorf("names: %q", bad)
			}
			if bad := eval[[]string](p, overflow); len(bad) > 0 {
				t.Errorf("too wide: %q", bad)
			}
			axe(t, p)
			picture(p, tt.name, chromedp.FullScreenshot(100))
		})
	}
	p.clean(admin)
}

// axe has axe-core look for what hinders people, where it was fetched beside the other modules.
func axe(t *testing.T, p *tab) {
	t.Helper()
	code, err := os.ReadFile("provider/node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Log("NOT RUN: axe-core was not fetched:", err)
		return
	}
	p.do(chromedp.Evaluate[chromedp.Void](string(code)))
	type violation struct {
		ID    string
		Help  string
		Nodes []struct{ HTML string }
	}
	found := eval[[]violation](p, `axe.run().then(r => r.violations.map(v => ({ID: v.id, Help: v.help, Nodes: v.nodes.map(n => ({HTML: n.html.slice(0, 120)}))})))`)
	for _, v := range found {
		t.Errorf("axe: %s: %s: %q", v.ID, v.Help, v.Nodes)
	}
}

// picture leaves a picture in the folder that STATUS_SCREENSHOTS names, if it names one.
func picture(p *tab, name string, take chromedp.Action[[]byte]) {
	p.Helper()
	folder := os.Getenv("STATUS_SCREENSHOTS")
	if folder == "" {
		return
	}
	png, err := chromedp.Run(p.ctx, take)
	if err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), png, 0o644); err != nil {
		p.Fatal(err)
	}
}
