package fake

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// subject is who a subject token speaks of.
type subject struct {
	id     string   // google.subject
	groups []string // google.groups
	role   string   // attribute.aws_role
	expiry time.Time
}

// maxSubject is the longest google.subject, in bytes.
const maxSubject = 127

// verify verifies a JWT as Google does: RS256 or ES256 by the issuer's published key, exact issuer, an audience of the provider's, not
// expired, not older than a day.
func (s *STS) verify(ctx context.Context, p Provider, f stsForm) (subject, *refusal) {
	if alg, err := algorithm(f.token); err == nil && alg != "RS256" && alg != "ES256" {
		return subject{}, oauthRefuse(AlgorithmUnsupported, "invalid_grant", "the subject token is signed with an algorithm that is not RS256 or ES256")
	}
	set, err := s.fetchKeys(ctx, p.JWKS)
	if err != nil {
		return subject{}, oauthRefuse(KeysUnavailable, "invalid_grant", "the issuer's keys cannot be had")
	}
	audiences := p.Audiences
	if len(audiences) == 0 {
		audiences = []string{"https:" + f.audience}
	}
	claims := jwt.MapClaims{}
	// No leeway: a fake that is stricter than Google finds clients that cut it close.
	_, err = jwt.NewParser(jwt.WithValidMethods([]string{"RS256", "ES256"}), jwt.WithIssuer(p.Issuer), jwt.WithAudience(audiences...),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithStrictDecoding()).ParseWithClaims(f.token, claims, set.key)
	if err != nil {
		return subject{}, subjectRefusal(err)
	}
	issued, err := claims.GetIssuedAt()
	if err != nil || issued == nil || time.Since(issued.Time) > maxSubjectAge {
		return subject{}, oauthRefuse(SubjectTooOld, "invalid_grant", "the subject token has no iat, or one of more than 24 hours ago")
	}
	return p.who(claims)
}

// who makes of the claims what IAM knows the subject by.
func (p Provider) who(claims jwt.MapClaims) (subject, *refusal) {
	name := p.Subject
	if name == "" {
		name = "sub"
	}
	id, ok := claims[name].(string)
	if !ok || id == "" || len(id) > maxSubject {
		return subject{}, oauthRefuse(SubjectInvalid, "invalid_grant", "the mapped google.subject is empty or too long")
	}
	expiry, err := claims.GetExpirationTime()
	if err != nil {
		return subject{}, oauthRefuse(SubjectInvalid, "invalid_grant", "the subject token has no exp")
	}
	who := subject{id: id, expiry: expiry.Time}
	list, _ := claims[p.Groups].([]any)
	for _, v := range list {
		if g, ok := v.(string); ok {
			who.groups = append(who.groups, g)
		}
	}
	return who, nil
}

// subjectRefusal says why a JWT was not taken. The library's own words could repeat what is in the token.
func subjectRefusal(err error) *refusal {
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed):
		return oauthRefuse(SubjectInvalid, "invalid_request", "the subject token is not a JWT")
	case errors.Is(err, jwt.ErrTokenUnverifiable), errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return oauthRefuse(SubjectForged, "invalid_grant", "the subject token's signature is not that of a published key")
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return oauthRefuse(SubjectIssuer, "invalid_grant", "the subject token's issuer is not the provider's")
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return oauthRefuse(SubjectAudience, "invalid_grant", "the subject token's audience is not one of the provider's")
	case errors.Is(err, jwt.ErrTokenExpired):
		return oauthRefuse(SubjectExpired, "invalid_grant", "the subject token has expired")
	}
	return oauthRefuse(SubjectInvalid, "invalid_grant", "the subject token's claims are not in order")
}

// algorithm returns the alg of a compact JWS.
func algorithm(token string) (string, error) {
	segment, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		return "", err
	}
	var header struct{ Alg string }
	return header.Alg, json.Unmarshal(raw, &header)
}

// key returns the key that verifies a token: the one of its kid and alg, which may sign.
func (s jwkSet) key(token *jwt.Token) (any, error) {
	at := slices.IndexFunc(s.Keys, func(k jwk) bool {
		return k.KeyID == token.Header["kid"] && (k.Algorithm == "" || k.Algorithm == token.Method.Alg()) && (k.Use == "" || k.Use == "sig")
	})
	if at < 0 {
		return nil, errors.New("no such key")
	}
	return s.Keys[at].publicKey()
}

func (s *STS) fetchKeys(ctx context.Context, address string) (jwkSet, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return jwkSet{}, err
	}
	res, err := s.options.Client.Do(req)
	if err != nil {
		return jwkSet{}, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return jwkSet{}, fmt.Errorf("%q: %s", address, res.Status)
	}
	var set jwkSet
	return set, json.NewDecoder(io.LimitReader(res.Body, 512<<10)).Decode(&set)
}
