package sandbox

import (
	"context"
	"net/http"

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

func upstreamRefuses(ctx context.Context, s *Sandbox) (string, error) {
	s.World.Vertex.Fail(fake.Fault{Status: http.StatusUnauthorized, Times: 1})
	defer s.World.Vertex.Heal()
	return s.Search(ctx)
}
