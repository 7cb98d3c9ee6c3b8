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

// refusals counts how often the agent has said that Google refused a token, which it then has at hand no more.
func (s *Sandbox) refusals() (int, error) {
	log, err := s.AgentLog()
	return strings.Count(log, "google refused a token"), err
}

// upstreamRefuses plays one refusal of a good token and the call after it, which must bring another one.
func upstreamRefuses(ctx context.Context, s *Sandbox) (string, error) {
	s.World.Vertex.Fail(fake.Fault{Status: http.StatusUnauthorized, Times: 1})
	defer s.World.Vertex.Heal()
	refusals, err := s.refusals()
	if err != nil {
		return "", err
	}
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
		// HAProxy tells the agent of the refusal and waits for it no longer than an answer may be delayed.
		if err := until(ctx, "the agent knows of the refusal", func() bool {
			n, err := s.refusals()
			return err != nil || n > refusals
		}); err != nil {
			return strings.Join(told, "; then "), err
		}
	}
	again := ", with the token that was refused"
	if len(tokens) == 2 && tokens[0] != tokens[1] {
		again = ", with another token"
	}
	return strings.Join(told, "; then ") + again, nil
}
