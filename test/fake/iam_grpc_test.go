package fake

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	iamcredentials "cloud.google.com/go/iam/credentials/apiv1"
	"cloud.google.com/go/iam/credentials/apiv1/credentialspb"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/api/option"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	rpcmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// rpcClient is Google's own client over gRPC and TLS, under the production name, without its retries.
func rpcClient(t *testing.T, w *World) *iamcredentials.IamCredentialsClient {
	t.Helper()
	return dialRPC(t, w.IAM, credentials.NewClientTLSFromCert(w.CA.Pool(), IAMHost))
}

func dialRPC(t *testing.T, x *IAM, security credentials.TransportCredentials) *iamcredentials.IamCredentialsClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+IAMHost+":443", grpc.WithTransportCredentials(security),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", x.Addr())
		}))
	if err != nil {
		t.Fatal(err)
	}
	c, err := iamcredentials.NewIamCredentialsClient(t.Context(), option.WithGRPCConn(conn))
	if err != nil {
		t.Fatal(err)
	}
	c.CallOptions.GenerateAccessToken = nil
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// asBearer sends a token with the calls of the context.
func asBearer(ctx context.Context, tokens ...string) context.Context {
	for _, token := range tokens {
		ctx = rpcmetadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	return ctx
}

func TestGooglesIAMClientMintsOverGRPC(t *testing.T) {
	w := startWorld(t)
	c := rpcClient(t, w)
	req := tokenFor(batch, middle)
	req.Lifetime = durationpb.New(5 * time.Minute)
	got, err := c.GenerateAccessToken(asBearer(t.Context(), agentToken(t, w)), req)
	if err != nil {
		t.Fatal(err)
	}
	grant, ok := w.Ledger.Grant(got.AccessToken)
	if want := got.ExpireTime.AsTime(); !ok || grant.Account != batch || !grant.Expiry.Equal(want) || time.Until(want) > 5*time.Minute {
		t.Errorf("got %+v, want %s until %v", grant, batch, want)
	}
	want := Mint{Caller: DefaultAgent, GRPC: true, Account: batch, Delegates: req.Delegates, Scopes: req.Scope, Lifetime: 5 * time.Minute}
	if diff := cmp.Diff([]Mint{want}, w.IAM.Mints(), cmpopts.IgnoreFields(Mint{}, "Time")); diff != "" {
		t.Error(diff)
	}
	if got := w.IAM.Count(batch); got != (Count{Asked: 1, Minted: 1}) {
		t.Errorf("got counts %+v", got)
	}
}

// What REST refuses, gRPC refuses for the same reason, with the code and the details that belong to it.
func TestIAMRefusesOverGRPC(t *testing.T) {
	w := startWorld(t)
	c := rpcClient(t, w)
	own := agentToken(t, w)
	long := tokenFor(middle)
	long.Lifetime = durationpb.New(2 * time.Hour)
	negative := tokenFor(chat)
	negative.Lifetime = durationpb.New(-time.Second)
	unscoped := tokenFor(chat)
	unscoped.Scope = nil
	for _, test := range []struct {
		name   string
		tokens []string
		req    *credentialspb.GenerateAccessTokenRequest
		reason Reason
		code   codes.Code
		info   bool // with google.rpc.ErrorInfo
	}{
		{"no token", nil, tokenFor(chat), CredentialsMissing, codes.Unauthenticated, true},
		{"two tokens", []string{own, own}, tokenFor(chat), CredentialsRepeated, codes.Unauthenticated, false},
		{"a token that nobody issued", []string{"x"}, tokenFor(chat), TokenTypeUnsupported, codes.Unauthenticated, true},
		{"somebody else's account", []string{own}, tokenFor(batch), PermissionDenied, codes.PermissionDenied, true},
		{"an unknown account", []string{own}, tokenFor("nobody@x.example"), AccountUnknown, codes.NotFound, false},
		{"two hours", []string{own}, long, LifetimeInvalid, codes.InvalidArgument, false},
		{"a lifetime below zero", []string{own}, negative, LifetimeInvalid, codes.InvalidArgument, false},
		{"no scope", []string{own}, unscoped, ScopeMissing, codes.InvalidArgument, false},
		{"no name", []string{own}, &credentialspb.GenerateAccessTokenRequest{Scope: unscoped.Scope}, NameInvalid, codes.InvalidArgument, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(w.IAM.Refusals())
			_, err := c.GenerateAccessToken(asBearer(t.Context(), test.tokens...), test.req)
			s := status.Convert(err)
			if s.Code() != test.code || s.Message() == "" {
				t.Errorf("got %v, want %v", err, test.code)
			}
			var reasons []string
			for _, detail := range s.Details() {
				if info, ok := detail.(*errdetails.ErrorInfo); ok {
					reasons = append(reasons, info.Reason)
				}
			}
			if test.info != (len(reasons) == 1) || (test.info && reasons[0] != string(test.reason)) {
				t.Errorf("got reasons %v, want %s", reasons, test.reason)
			}
			if all := w.IAM.Refusals()[before:]; len(all) != 1 || all[0].Reason != test.reason {
				t.Errorf("got refusals %+v, want one of %s", all, test.reason)
			}
		})
	}
}

func TestIAMHasNoOtherMethodOverGRPC(t *testing.T) {
	w := startWorld(t)
	c := rpcClient(t, w)
	_, err := c.SignJwt(asBearer(t.Context(), agentToken(t, w)), &credentialspb.SignJwtRequest{Name: accountPrefix + chat})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
	if all := w.IAM.Refusals(); len(all) != 1 || all[0].Reason != NotFound {
		t.Errorf("got refusals %+v", all)
	}
}

func TestIAMMisbehavesOverGRPC(t *testing.T) {
	w := startWorld(t)
	c := rpcClient(t, w)
	mint := func(ctx context.Context) (*credentialspb.GenerateAccessTokenResponse, error) {
		return c.GenerateAccessToken(asBearer(ctx, agentToken(t, w)), tokenFor(chat))
	}
	for _, test := range []struct {
		name  string
		fault Fault
		code  codes.Code
	}{
		{"429", Fault{Status: 429}, codes.ResourceExhausted},
		{"503", Fault{Status: 503}, codes.Unavailable},
		{"a page", Fault{Status: 502, Page: "<html>"}, codes.Unavailable},
		{"no answer", Fault{Down: true}, codes.Internal}, // RST_STREAM INTERNAL_ERROR
		{"a reset", Fault{Reset: true}, codes.Unavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.fault.Times = 1
			w.IAM.Fail(test.fault)
			if _, err := mint(t.Context()); status.Code(err) != test.code {
				t.Errorf("got %v, want %v", err, test.code)
			}
			if _, err := mint(t.Context()); err != nil {
				t.Errorf("healed: %v", err)
			}
		})
	}
	t.Run("slow", func(t *testing.T) {
		w.IAM.Fail(Fault{Gate: make(chan struct{}), Times: 1})
		defer w.IAM.Heal() // the time may be over before anything was sent
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := mint(ctx); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("got %v", err)
		}
	})
	for name, test := range map[string]struct {
		twist Twist
		ok    func(*credentialspb.GenerateAccessTokenResponse) bool
	}{
		"an empty token": {Twist{EmptyToken: true}, func(r *credentialspb.GenerateAccessTokenResponse) bool { return r.GetAccessToken() == "" }},
		"a token of 12 KB": {Twist{TokenBytes: 12 << 10}, func(r *credentialspb.GenerateAccessTokenResponse) bool {
			return len(r.GetAccessToken()) == 12<<10
		}},
		"an expired token": {Twist{Lifetime: -time.Minute}, func(r *credentialspb.GenerateAccessTokenResponse) bool {
			return r.GetExpireTime().AsTime().Before(time.Now())
		}},
		"no expiry": {Twist{BadExpiry: true}, func(r *credentialspb.GenerateAccessTokenResponse) bool { return r.GetExpireTime() == nil }},
	} {
		t.Run(name, func(t *testing.T) {
			w.IAM.Twist(test.twist)
			if got, err := mint(t.Context()); err != nil || !test.ok(got) {
				t.Errorf("got %v, %v", strings.ReplaceAll(got.String(), got.GetAccessToken(), "…"), err)
			}
		})
	}
}

// Without an authority it speaks gRPC in the clear too, for clients that are pointed at an address.
func TestIAMWithoutTLSSpeaksGRPC(t *testing.T) {
	ledger := NewLedger()
	x, err := NewIAM(IAMOptions{Ledger: ledger, Accounts: map[string]Account{chat: {Impersonators: []string{DefaultAgent}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	token, err := ledger.issue(Grant{Source: FromMetadata, Account: DefaultAgent, Scopes: []string{ScopeIAM}, Expiry: time.Now().Add(time.Hour)}, 64)
	if err != nil {
		t.Fatal(err)
	}
	c := dialRPC(t, x, insecure.NewCredentials())
	// The library's own handling of credentials wants TLS; metadata does not.
	if _, err := c.GenerateAccessToken(asBearer(t.Context(), token), tokenFor(chat)); err != nil {
		t.Error(err)
	}
}
