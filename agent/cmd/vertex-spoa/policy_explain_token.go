package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vertex-spoa/agent"
	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/agent/internal/secret"
	"vertex-spoa/policy"
	"vertex-spoa/policy/strictyaml"
)

// knownIssuer refuses the name of an issuer that the policy does not have.
func knownIssuer(p *policy.Policy, name string) error {
	var names []string
	for _, i := range p.Issuers() {
		if i.Name == name {
			return nil
		}
		names = append(names, i.Name)
	}
	return fmt.Errorf("the policy has no issuer %q%s", name, strictyaml.Suggest(name, names))
}

// credentials reads what the caller shows.
func (e *explainer) credentials() (identity.Credentials, error) {
	var c identity.Credentials
	if e.flags.token != "" {
		data, err := e.read(e.flags.token)
		if err != nil {
			return c, err
		}
		token := strings.TrimSpace(string(data))
		if rest, ok := strings.CutPrefix(token, "Bearer "); ok {
			token = strings.TrimSpace(rest)
		}
		if token == "" {
			return c, errors.New("there is no token")
		}
		setToken(&c, strings.ToLower(e.flags.header), token)
	}
	if e.flags.certificate != "" {
		data, err := e.read(e.flags.certificate)
		if err != nil {
			return c, err
		}
		block, _ := pem.Decode(data)
		if block == nil || block.Type != "CERTIFICATE" {
			return c, fmt.Errorf("%s: no certificate in PEM in it", e.flags.certificate)
		}
		c.Certificate = identity.ClientCertificate{Used: true, DER: block.Bytes}
	}
	return c, nil
}

// setToken puts a token into the field in which it comes.
func setToken(c *identity.Credentials, field, token string) {
	c.Authorization, c.Assertion, c.AssertionHeader = secret.Text{}, secret.Text{}, ""
	if field == "" || field == identity.HeaderAuthorization {
		c.Authorization = secret.New("Bearer " + token)
		return
	}
	c.Assertion, c.AssertionHeader = secret.New(token), field
}

// verification verifies credentials as the agent does.
type verification struct {
	policy    *policy.Policy
	keys      []byte // of every issuer, as a key set; nil: the issuers' own
	offline   bool   // the signature is not checked
	anyHeader bool   // the token may come in any field
}

// identify returns who the credentials name. A refusal is an *identity.Error.
func (v *verification) identify(ctx context.Context, c identity.Credentials, now time.Time) (identity.Identity, error) {
	token := ""
	if c.Authorization.Len() > 0 {
		token = strings.TrimPrefix(c.Authorization.Reveal(), "Bearer ")
	} else {
		token = c.Assertion.Reveal()
	}
	issuers := agent.Issuers(v.policy)
	if v.offline {
		signed, keys, err := signAnew(token)
		if err != nil {
			return identity.Identity{}, err
		}
		if v.keys = keys; signed != token {
			setToken(&c, c.AssertionHeader, signed)
			token = signed
		}
	}
	if v.keys != nil {
		withKeys(issuers, v.keys)
	}
	verifier, err := identity.New(ofToken(issuers, token), identity.Options{Client: &http.Client{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return identity.Identity{}, fmt.Errorf("issuers of the policy: %w", err)
	}
	defer verifier.Close()
	verifier.Ready(ctx)
	id, err := verifier.Identify(ctx, c, now)
	for _, field := range []string{identity.HeaderCloudflare, identity.HeaderIAP} {
		var refused *identity.Error
		if !v.anyHeader || !errors.As(err, &refused) || refused.Reason != identity.WrongHeader {
			break
		}
		setToken(&c, field, token)
		id, err = verifier.Identify(ctx, c, now)
	}
	return id, err
}

// withKeys gives all issuers that take tokens the same keys, and has nobody asked about tokens.
func withKeys(issuers []identity.Issuer, keys []byte) {
	for n := range issuers {
		i := &issuers[n]
		i.Introspection = nil
		if i.URL != "" {
			i.JWKS, i.JWKSURL, i.JWKSFile, i.CAFile, i.ProxyURL, i.TokenFile = keys, "", "", "", "", ""
		}
	}
}

// ofToken returns the one issuer whose URL a token names, so that no other is asked for its keys; all of them when none is it.
func ofToken(issuers []identity.Issuer, token string) []identity.Issuer {
	var claims struct {
		Issuer string `json:"iss"`
	}
	if _, rest, found := strings.Cut(token, "."); found {
		payload, _, _ := strings.Cut(rest, ".")
		data, err := base64.RawURLEncoding.DecodeString(payload)
		if err == nil && json.Unmarshal(data, &claims) == nil {
			at := slices.IndexFunc(issuers, func(i identity.Issuer) bool { return i.URL != "" && i.URL == claims.Issuer })
			if at >= 0 {
				return issuers[at : at+1]
			}
		}
	}
	return issuers
}

// revoked returns an *identity.Error when the deny list names the caller.
func (e *explainer) revoked(id identity.Identity) error {
	file := e.flags.revocations
	if file == "" {
		file = filepath.Join(e.dir, policy.RevocationsFile)
	}
	list, err := identity.LoadRevocations(file)
	if err != nil {
		return loadError{err}
	}
	return list.Check(id)
}
