package sandbox

import (
	"context"
	"net/http"
	"strings"

	"vertex-spoa/test/fake"
)

func issuerDown(ctx context.Context, s *Sandbox) (string, error) {
	s.World.IDP.Fail(fake.Fault{Down: true})
	defer s.World.IDP.Heal()
	return s.Search(ctx)
}

func iamDown(ctx context.Context, s *Sandbox) (string, error) {
	s.World.IAM.Fail(fake.Fault{Down: true})
	defer s.World.IAM.Heal()
	return s.Search(ctx)
}

// upstreamRefuses plays one refusal of a good token and the call after it, which must bring another one.
func upstreamRefuses(ctx context.Context, s *Sandbox) (string, error) {
	s.World.Vertex.Fail(fake.Fault{Status: http.StatusUnauthorized, Times: 1})
	defer s.World.Vertex.Heal()
	var told, tokens []string
	for range 2 {
		token, err := s.Caller("search-eng")
		if err != nil {
			return "", err
		}
		s.World.Vertex.Take()
		result, err := s.Do(ctx, Call{Target: generate, Token: token, Body: prompt})
		if err != nil {
			return "", err
		}
		for _, r := range s.World.Vertex.Requests() {
			tokens = append(tokens, r.Header.Get("Authorization"))
		}
		told = append(told, result.String()+s.forwarded(token))
	}
	again := ", with the token that was refused"
	if len(tokens) == 2 && tokens[0] != tokens[1] {
		again = ", with another token"
	}
	return strings.Join(told, "; then ") + again, nil
}
