package fake

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/iam/credentials/apiv1/credentialspb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	rpcmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// rpcIAM is an [IAM] as the service that Google's stubs for Go describe.
type rpcIAM struct {
	credentialspb.UnimplementedIAMCredentialsServer
	iam *IAM
}

func newRPC(x *IAM) *grpc.Server {
	server := grpc.NewServer(grpc.MaxRecvMsgSize(64 << 10))
	credentialspb.RegisterIAMCredentialsServer(server, rpcIAM{iam: x})
	return server
}

func isGRPC(r *http.Request) bool {
	return r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}

// requestKey is the key of the HTTP request in the context of a gRPC call.
type requestKey struct{}

// answerRPC spoils the call as any other, or hands it to gRPC.
func (x *IAM) answerRPC(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/GenerateAccessToken") {
		x.note(r, NotFound, http.StatusNotFound) // gRPC itself answers UNIMPLEMENTED
		x.rpc.ServeHTTP(w, r)
		return
	}
	if x.spoil(w, r, writeGRPC) {
		return
	}
	x.rpc.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, r)))
}

// GenerateAccessToken is generateAccessToken over gRPC.
func (s rpcIAM) GenerateAccessToken(ctx context.Context, req *credentialspb.GenerateAccessTokenRequest) (
	*credentialspb.GenerateAccessTokenResponse, error,
) {
	m := Mint{Time: time.Now(), GRPC: true, Account: strings.TrimPrefix(req.GetName(), accountPrefix)}
	s.iam.count(m.Account, Count{Asked: 1})
	sent, _ := rpcmetadata.FromIncomingContext(ctx)
	answer, no := s.iam.generate(sent.Get("authorization"), req.GetName(), &m, func() (tokenRequest, *refusal) { return fromProto(req), nil })
	s.iam.record(m, no)
	if no != nil {
		if r, ok := ctx.Value(requestKey{}).(*http.Request); ok {
			s.iam.note(r, no.reason, no.status)
		}
		return nil, no.rpcStatus().Err()
	}
	token := &credentialspb.GenerateAccessTokenResponse{AccessToken: answer.AccessToken}
	if expiry, err := time.Parse(time.RFC3339, answer.ExpireTime); err == nil {
		token.ExpireTime = timestamppb.New(expiry)
	}
	return token, nil
}

// fromProto returns the request as REST would have brought it.
func fromProto(req *credentialspb.GenerateAccessTokenRequest) tokenRequest {
	q := tokenRequest{Delegates: req.GetDelegates(), Scope: req.GetScope()}
	if life := req.GetLifetime(); life != nil {
		text := fmt.Sprintf("%d.%09ds", life.GetSeconds(), life.GetNanos())
		q.Lifetime = &text
	}
	return q
}

// rpcStatus is the refusal as gRPC has it: the same code and the same details as over REST.
func (r *refusal) rpcStatus() *status.Status {
	code := codes.Unknown
	_ = code.UnmarshalJSON([]byte(strconv.Quote(rpcCode(r.status)))) // leaves it Unknown where there is no such name
	s := status.New(code, r.message)
	if r.domain == "" {
		return s
	}
	detailed, err := s.WithDetails(&errdetails.ErrorInfo{Reason: string(r.reason), Domain: r.domain, Metadata: r.info})
	if err != nil {
		return s
	}
	return detailed
}

// writeGRPC answers r without any message, with the status where the headers would be ("Trailers-Only" in gRPC's PROTOCOL-HTTP2.md).
func writeGRPC(w http.ResponseWriter, r *refusal) {
	s := r.rpcStatus()
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Grpc-Status", strconv.Itoa(int(s.Code())))
	h.Set("Grpc-Message", url.PathEscape(s.Message()))
	if raw, err := proto.Marshal(s.Proto()); err == nil {
		h.Set("Grpc-Status-Details-Bin", base64.RawStdEncoding.EncodeToString(raw))
	}
	w.WriteHeader(http.StatusOK)
}
