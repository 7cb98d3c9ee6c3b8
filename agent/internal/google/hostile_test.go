package google

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"vertex-spoa/agent/internal/secret"
)

// zeros is a short text that is long when it is unpacked.
func zeros(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	part := make([]byte, 1<<20)
	for range 64 {
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestAnAnswerThatUnpacksWithoutEndIsCutOff(t *testing.T) {
	bomb := zeros(t)
	explode := func(w http.ResponseWriter) bool {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(bomb)
		return true
	}
	f := federationOnLoopback(t)
	f.iam.set(func(w http.ResponseWriter, _ *http.Request, _ call) bool { return explode(w) })
	f.sts.set(func(w http.ResponseWriter, _ *http.Request) bool { return explode(w) })
	_, err := f.Token(t.Context(), request(alice))
	wantReason(t, err, MintInvalid)
	_, err = f.Token(t.Context(), direct(f.sts.sign()))
	wantReason(t, err, ExchangeUnavailable)

	server := startMetadata(t)
	server.set(func(w http.ResponseWriter, what string) bool { return what == "token" && explode(w) })
	_, err = mustMetadata(t).mint(t.Context())
	wantReason(t, err, CredentialsUnavailable)

	p := startParties(t)
	p.set(func(w http.ResponseWriter, _ *http.Request) bool { return explode(w) })
	base := baseOf(t, p, user())
	_, err = base.mint(t.Context())
	wantReason(t, err, CredentialsUnavailable)
}

// baseOf is the Base of a credential file with the given content.
func baseOf(t *testing.T, p *parties, content any) Base {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.json")
	writeJSON(t, path, content)
	base, _, err := Credentials(t.Context(), p.config(path))
	if err != nil {
		t.Fatal(err)
	}
	return base
}

// drip answers 200 and then a byte every second, for ever.
type drip struct{}

func (drip) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(&dripped{r.Context()}),
	}, nil
}

type dripped struct{ ctx context.Context }

func (d *dripped) Read(p []byte) (int, error) {
	select {
	case <-time.After(time.Second):
		return copy(p, " "), nil
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	}
}

func TestAnAnswerThatDripsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := federationInBubble(t, func(c *Config) { c.Client = &http.Client{Transport: drip{}} })
		defer f.Close()
		for _, test := range []struct {
			r    Request
			want Reason
		}{{request(alice), MintUnavailable}, {direct(f.sts.sign()), ExchangeUnavailable}} {
			start := time.Now()
			_, err := f.Token(t.Context(), test.r)
			e := wantReason(t, err, test.want)
			if took := time.Since(start); took > attempts*(callTimeout+time.Second) || !strings.Contains(e.Detail, "within 5s") {
				t.Errorf("got %v after %v", err, took)
			}
		}
	})
}

func TestTheLivesThatAnswersClaim(t *testing.T) {
	const member = `"access_token":"FED-MARKER","issued_token_type":"` + accessTokenType + `","token_type":"Bearer"`
	for _, test := range []struct {
		name, claimed string
		want          time.Duration // 0: refused
	}{
		{"a second more than nothing", `1`, time.Second},
		{"nothing", `0`, 0},
		{"a negative one", `-3600`, 0},
		{"a year", `31536000`, maxLifetime},
		{"more than a duration holds", `9223372036854775807`, maxLifetime},
		{"more than a number holds", `9223372036854775808`, 0},
		{"a fraction", `3600.5`, 0},
		{"an exponent", `3.6e3`, 0},
		{"a text", `"3600"`, 0},
		{"null", `null`, 0},
		{"a list", `[3600]`, 0},
		{"two, of which the last one counts", `9999, "expires_in": 60`, time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := Request{SubjectExpiry: time.Now().Add(24 * time.Hour)}
			got, failure := federated(r, []byte(`{`+member+`,"expires_in":`+test.claimed+`}`), wall())
			switch {
			case test.want == 0 && (failure == nil || got != (Token{})):
				t.Errorf("%s: got a token", test.name)
			case test.want > 0 && failure != nil:
				t.Errorf("%s: got %v", test.name, failure)
			case test.want > 0 && time.Until(got.Expiry) != test.want:
				t.Errorf("%s: the token lives %v, want %v", test.name, time.Until(got.Expiry), test.want)
			}
		})
	}
}

// The agent's own token does not live longer than one of Google's can, whatever whoever issued it says.
func TestTheOwnTokenOfAYearIsRefreshedLikeOthers(t *testing.T) {
	p := startParties(t)
	p.set(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"`+baseMarker+`","token_type":"Bearer","expires_in":31536000}`)
		return true
	})
	token, err := baseOf(t, p, user()).mint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(token.Expiry); left > maxLifetime {
		t.Errorf("the token lives %v, want %v at most", left, maxLifetime)
	}
}

func TestATokenThatFitsIntoNoFrameIsRefused(t *testing.T) {
	f := federationOnLoopback(t)
	for length, fits := range map[int]bool{12 << 10: true, maxToken: true, maxToken + 1: false} {
		text := strings.Repeat("A", length)
		f.iam.set(func(w http.ResponseWriter, _ *http.Request, _ call) bool {
			sendToken(w, text, time.Now().Add(time.Hour))
			return true
		})
		f.sts.set(func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = fmt.Fprintf(w, `{"access_token":%q,"issued_token_type":%q,"token_type":"Bearer","expires_in":3600}`, text, accessTokenType)
			return true
		})
		account := fmt.Sprintf("a%d@team.iam.gserviceaccount.com", length)
		for _, r := range []Request{request(account), direct(f.sts.sign(subject(account)))} {
			token, err := f.Token(t.Context(), r)
			if fits && (err != nil || token.Value.Len() != length) {
				t.Errorf("%d bytes: got %d, %v", length, token.Value.Len(), err)
			}
			if !fits && !strings.Contains(wantReason(t, err, MintInvalid).Detail, fmt.Sprintf("a token of %d bytes", length)) {
				t.Errorf("%d bytes: got %v", length, err)
			}
		}
	}
}

// The caller's token is good when the exchange begins and is not when it ends.
func TestAnExchangeThatOutlastsTheCallersToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, slow := range []string{"STS", "IAM"} {
			f := federationInBubble(t)
			wait := func(r *http.Request) bool {
				select {
				case <-time.After(3 * time.Second):
				case <-r.Context().Done():
				}
				return false
			}
			if slow == "STS" { // which still takes what it has begun with
				f.sts.set(func(w http.ResponseWriter, r *http.Request) bool {
					wait(r)
					_, _ = io.WriteString(w, `{"access_token":"FED-MARKER","issued_token_type":"`+accessTokenType+`","token_type":"Bearer","expires_in":3600}`)
					return true
				})
			} else {
				f.iam.set(func(_ http.ResponseWriter, r *http.Request, _ call) bool { return wait(r) })
			}
			soon := f.sts.sign(func(c jwt.MapClaims) { c["exp"] = time.Now().Add(2 * time.Second).Unix() })
			for _, r := range []Request{impersonating(soon, alice), direct(soon)} {
				if slow == "IAM" && r.Exchange.Mode == Direct {
					continue
				}
				token, err := f.Token(t.Context(), r)
				if e := wantReason(t, err, ExchangeRefused); token != (Token{}) || !strings.Contains(e.Detail, "has expired") {
					t.Errorf("a slow %s: got %v, %v", slow, token, err)
				}
			}
			f.Close()
		}
	})
}

// A Base that does not end with its context holds up neither callers nor Close, and is not called many times over.
func TestABaseThatHangsIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		calls := 0
		w := inBubble(t, func(c *Config) {
			c.Base = func(context.Context) (Token, error) {
				calls++
				<-release
				return Token{Value: secret.New(baseMarker), Expiry: time.Now().Add(time.Hour), Account: agentEmail}, nil
			}
		})
		for range 5 {
			_, err := w.Token(t.Context(), request(alice))
			wantReason(t, err, CredentialsUnavailable)
			pass(longPause)
		}
		if calls != 1 {
			t.Errorf("the base is called %d times, want once as long as it hangs", calls)
		}
		close(release)
		pass(longPause)
		w.mustGet(t, request(alice))
		if calls != 2 {
			t.Errorf("the base was called %d times, want 2", calls)
		}
		w.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w := inBubble(t, func(c *Config) {
			c.Base = func(context.Context) (Token, error) {
				<-release
				return Token{}, errors.New("late")
			}
		})
		start := time.Now()
		w.Close()
		if took := time.Since(start); took > baseTimeout {
			t.Errorf("Close took %v", took)
		}
		close(release)
	})
}

// What the library waits for without end: the writer of a pipe, and whoever inherited the output of a command that was ended.
func TestCredentialSourcesThatHang(t *testing.T) {
	t.Setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")
	p := startParties(t)
	dir := t.TempDir()
	pipe := filepath.Join(dir, "token")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	script, lasting := filepath.Join(dir, "subject"), filepath.Join(dir, "lasting")
	if err := syscall.Mkfifo(lasting, 0o600); err != nil {
		t.Fatal(err)
	}
	// cat waits for a writer, and keeps the output open when the shell is ended.
	if err := os.WriteFile(script, []byte("#!/bin/sh\ncat "+lasting+" &\nwait\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		content object
		release string
	}{
		"a pipe":    {external(object{"file": pipe}), pipe},
		"a command": {external(object{"executable": object{"command": script, "timeout_millis": 5000}}), lasting},
	} {
		t.Run(name, func(t *testing.T) {
			base := baseOf(t, p, test.content).abandonable()
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			start := time.Now()
			if token, err := base(ctx); err == nil || token != (Token{}) {
				t.Errorf("got %v, %v", token, err)
			}
			if took := time.Since(start); took > 30*time.Second { // of the real clock, on a machine that may be busy
				t.Errorf("it took %v", took)
			}
			writer, err := os.OpenFile(test.release, os.O_RDWR, 0) // lets what hangs end
			if err != nil {
				t.Fatal(err)
			}
			_ = writer.Close()
		})
	}
}

// A federated token that is refused is found among those of many callers at once.
func TestDropByFingerprintOfAnExchangedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := federationInBubble(t, func(c *Config) { c.Exchanged = 2 })
		defer f.Close()
		var rs []Request
		var prints []string
		for _, name := range []string{"ann", "ben", "cid"} {
			r := direct(f.sts.sign(subject(name)))
			token, err := f.Token(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			rs, prints = append(rs, r), append(prints, token.Fingerprint)
		}
		if f.DropFingerprint(prints[0]) {
			t.Error("a token that was evicted is found")
		}
		if f.DropFingerprint("") || f.DropFingerprint("0123456789abcdef") {
			t.Error("a token is found by nothing")
		}
		if !f.DropFingerprint(prints[1]) || f.DropFingerprint(prints[1]) {
			t.Error("a token is not found, or again after it was dropped")
		}
		for n, same := range map[int]bool{1: false, 2: true} {
			token, err := f.Token(t.Context(), rs[n])
			if err != nil || (token.Fingerprint == prints[n]) != same {
				t.Errorf("caller %d: got the token of before: %v, want %v; %v", n, !same, same, err)
			}
		}
		x := f.callers
		x.mu.Lock()
		defer x.mu.Unlock()
		if len(x.printed) != x.held.Len() {
			t.Errorf("%d fingerprints of %d tokens", len(x.printed), x.held.Len())
		}
	})
}
