package doctor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/policy"
)

// openIssuers starts the first fetch of every issuer's keys.
func (e *examination) openIssuers() error {
	var mu sync.Mutex
	took := map[string]time.Duration{}
	e.started = time.Now()
	var err error
	e.issuers, err = identity.New(e.Issuers, identity.Options{Client: e.Client, Log: e.log, OnKeys: func(issuer string, _ int, _ error) {
		mu.Lock()
		defer mu.Unlock()
		if _, again := took[issuer]; !again {
			took[issuer] = time.Since(e.started)
		}
	}})
	e.fetched = func() map[string]time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(took)
	}
	return err
}

// checkIssuers waits for the keys and tells what came.
func (e *examination) checkIssuers(ctx context.Context) []Check {
	ctx, cancel := e.bound(ctx)
	defer cancel()
	e.issuers.Ready(ctx)
	took := e.fetched()
	var checks []Check
	configured := e.Policy.Issuers()
	for i, status := range e.issuers.Status() {
		check := issuerCheck(configured[i], status)
		if configured[i].URL != "" {
			check.Latency = Milliseconds(cmp.Or(took[status.Name], time.Since(e.started)-status.Age))
		}
		if check.Status == Failed && status.Error == "" && ctx.Err() != nil {
			check = check.fail(NoAnswer, context.Cause(ctx).Error(), adviceSilence, "")
		}
		checks = append(checks, check)
	}
	return checks
}

func issuerCheck(i policy.Issuer, status identity.IssuerStatus) Check {
	check := Check{Kind: Issuer, Name: i.Name, Status: OK, Issuer: &IssuerFacts{
		URL: i.URL, Keys: status.Keys, Dropped: status.Dropped, Age: seconds(status.Age), Next: seconds(status.NextRefresh),
	}}
	switch {
	case i.URL == "":
		check.Summary = "needs no keys: its callers have client certificates, which HAProxy verifies"
		return check
	case !status.Usable || status.Error != "":
		reason, advice := explainIssuer(status.Error)
		return check.fail(reason, i.URL+": "+status.Error, advice, look(i, reason, status.Error))
	}
	check.Summary = clean(fmt.Sprintf("%s: %s, %s old, wanted again in %s",
		i.URL, plural(status.Keys, "usable key"), span(status.Age), span(status.NextRefresh)))
	if status.Dropped > 0 {
		check.Status, check.Reason = Warning, KeysDropped
		check.Summary += fmt.Sprintf("; %s cannot be used", plural(status.Dropped, "other"))
		check.Advice = "Tokens that these keys have signed are refused. The agent's log says why at its start: a kind of key that is not " +
			"supported or too weak, one that is not for signatures, or one that should not have been published."
	}
	return check
}

// explainIssuer says what is wrong by the error of a fetch.
func explainIssuer(text string) (Reason, string) {
	switch {
	case strings.Contains(text, "document is of issuer"):
		return IssuerAnswer, "The document at this address is that of another issuer. Write url in the policy byte for byte as the claim iss of " +
			"its tokens, also the slash at its end."
	case strings.Contains(text, ": status 404"):
		return IssuerAnswer, "The host answers, but has no such document. Check url in the policy; an issuer without discovery needs jwks."
	case strings.Contains(text, ": status "):
		return IssuerAnswer, "The host answers with an error. Look at it from this machine; if it wants to know who asks, name a token file in the policy."
	case strings.Contains(text, "is usable"):
		return NoUsableKeys, "The issuer publishes keys, but none that verifies signatures of a supported kind: RSA of 2048 bits and more, " +
			"P-256, P-384, P-521 and Ed25519, with use sig or none."
	case strings.Contains(text, "key set file"), strings.Contains(text, "CA file"), strings.Contains(text, "token file"):
		return IssuerFile, adviceFile
	case strings.Contains(text, "key set"), strings.Contains(text, "JSON"), strings.Contains(text, "jwks_uri"), strings.Contains(text, "document"):
		if reason, advice, ok := wayTo(text); ok {
			return reason, advice
		}
		return IssuerAnswer, "What came is not the issuer's configuration or key set: a login page or a proxy may have answered instead."
	}
	if reason, advice, ok := wayTo(text); ok {
		return reason, advice
	}
	return IssuerFile, adviceFile
}

const adviceFile = "Check that the file exists, holds what it should, and can be read by the user that the agent runs as."

var hostInError = regexp.MustCompile(`from host "([A-Za-z0-9.:\[\]-]+)"`)

// look is the command that shows what the agent gets, or what is in the way to it.
func look(i policy.Issuer, reason Reason, text string) string {
	address := cmp.Or(i.JWKSURL, strings.TrimSuffix(i.URL, "/")+"/.well-known/openid-configuration")
	host := ""
	if found := hostInError.FindStringSubmatch(text); found != nil {
		host = found[1]
	}
	u, err := url.Parse(address)
	switch {
	case i.JWKSFile != "":
		return "ls -l " + quoted(i.JWKSFile)
	case len(i.JWKS) > 0 || err != nil || reason == IssuerFile:
		return ""
	case host != "" && host != u.Host: // discovery or a profile leads there
		address = "https://" + host + "/"
	}
	if reason == IssuerAnswer || reason == NoUsableKeys {
		return "curl -sS " + quoted(address)
	}
	return "curl -sv -o /dev/null " + quoted(address)
}
