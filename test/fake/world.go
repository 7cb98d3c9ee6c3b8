// Package fake plays the other parties of vertex-spoa: an OpenID provider, Google's metadata server, Security Token Service, OAuth token
// endpoint, IAM Credentials and Vertex AI, Amazon's metadata service, the certificate authority behind their names, and the egress proxy
// that leads to them. They run on real sockets, speak what the real
// parties speak, and are strict: what they accept the real ones accept. A [World] starts all of them, wired to each other.
//
//	w, err := fake.Start(fake.Options{Dir: dir, Accounts: map[string]fake.Account{
//		"chat@acme-ai.iam.gserviceaccount.com": {
//			Impersonators: []string{fake.DefaultAgent},
//			Projects:      []string{"acme-ai"},
//		},
//	}})
//
// Every refusal has a [Reason]; every party remembers what it refused (Refusals), can be made to misbehave (Fail, Heal), and stops for
// good with Close, which waits. All memory is bounded. The package needs no test to run in.
//
// The words in error messages are this package's own; codes, statuses and reasons are those of the real parties.
package fake

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// What a World uses where Options say nothing else.
const (
	DefaultIssuer   = "https://login.example.com"
	DefaultAudience = "vertex-gateway"
	DefaultProject  = "acme-ai"
	DefaultAgent    = "vertex-spoa@acme-ai.iam.gserviceaccount.com"

	// The workload identity pool of every World, its provider for the tokens of the identity provider, and that for Amazon's machine.
	DefaultPool        = "projects/123456789012/locations/global/workloadIdentityPools/callers"
	DefaultProvider    = "//iam.googleapis.com/" + DefaultPool + "/providers/corp"
	DefaultAWSProvider = "//iam.googleapis.com/" + DefaultPool + "/providers/amazon"
)

// Options describe a World. Only Dir is required.
type Options struct {
	Dir      string             // where ca.pem goes; made when missing
	Issuer   string             // https issuer of the identity provider; DefaultIssuer when empty
	Audience string             // of the identity provider's tokens; DefaultAudience when empty
	Project  string             // of the machine the agent runs on; DefaultProject when empty
	Agent    string             // email of that machine's service account; DefaultAgent when empty
	Accounts map[string]Account // the service accounts that exist, by email
	Clients  map[string]Client  // of the identity provider's token endpoint, by client id
	Hosts    map[string]string  // further hosts of Vertex AI and their locations

	Providers map[string]Provider // further providers of Google's pools, by full resource name
	Access    map[string][]string // projects that federated principals may use themselves, by principal://… or principalSet://…
	Keys      map[string]Key      // keys of service accounts and of users, which the OAuth token endpoint takes, by [Key.ID]

	Addrs Addrs // fixed addresses

	TokenBytes   int           // size of minted tokens; 1,024 when 0
	CallerLife   time.Duration // lifetime of the identity provider's tokens; 10 minutes when 0
	KeySetMaxAge time.Duration // max-age of the identity provider's key set; 5 minutes when 0
	AgentLife    time.Duration // lifetime of the agent's own tokens; 1 hour when 0
}

// Addrs are the addresses to listen on, HOST:PORT each. Empty ones are free ports of 127.0.0.1.
type Addrs struct{ IDP, Metadata, IAM, Vertex, Egress, STS, OAuth, AWS string }

// World is a whole sandbox. Its parties may be used, and made to misbehave, one by one.
type World struct {
	CA       *CA
	Ledger   *Ledger
	IDP      *IDP
	Metadata *Metadata
	IAM      *IAM
	Vertex   *Vertex
	Egress   *Egress
	STS      *STS
	OAuth    *OAuth
	AWS      *AWS

	keys *http.Client // fetches key sets for STS
}

// Start starts all parties. After an error none is left running.
func Start(o Options) (*World, error) {
	o.Issuer = cmp.Or(o.Issuer, DefaultIssuer)
	o.Audience = cmp.Or(o.Audience, DefaultAudience)
	o.Project = cmp.Or(o.Project, DefaultProject)
	o.Agent = cmp.Or(o.Agent, DefaultAgent)
	ca, err := NewCA(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("start sandbox: %w", err)
	}
	w := &World{CA: ca, Ledger: NewLedger()}
	if err := w.start(o); err != nil {
		return nil, errors.Join(fmt.Errorf("start sandbox: %w", err), w.Close())
	}
	return w, nil
}

func (w *World) start(o Options) (err error) {
	w.IDP, err = NewIDP(IDPOptions{
		Addr: o.Addrs.IDP, Issuer: o.Issuer, CA: w.CA, Audience: o.Audience, Lifetime: o.CallerLife, MaxAge: o.KeySetMaxAge,
		Clients: o.Clients,
	})
	if err != nil {
		return err
	}
	w.Metadata, err = NewMetadata(MetadataOptions{
		Addr: o.Addrs.Metadata, Ledger: w.Ledger, Account: o.Agent, Project: o.Project, Lifetime: o.AgentLife,
	})
	if err != nil {
		return err
	}
	w.IAM, err = NewIAM(IAMOptions{
		Addr: o.Addrs.IAM, CA: w.CA, Ledger: w.Ledger, Accounts: o.Accounts, TokenBytes: o.TokenBytes,
	})
	if err != nil {
		return err
	}
	w.Vertex, err = NewVertex(VertexOptions{Addr: o.Addrs.Vertex, CA: w.CA, Ledger: w.Ledger, Hosts: o.Hosts})
	if err != nil {
		return err
	}
	if err := w.startTokenEndpoints(o); err != nil {
		return err
	}
	for target, addr := range w.routes(o.Hosts) {
		w.Egress.Route(target, addr)
	}
	return nil
}

// startTokenEndpoints starts Google's token endpoints and what they need: Amazon, and the egress proxy for the way to key sets.
func (w *World) startTokenEndpoints(o Options) (err error) {
	if w.Egress, err = NewEgress(o.Addrs.Egress, nil); err != nil {
		return err
	}
	if w.AWS, err = NewAWS(AWSOptions{Addr: o.Addrs.AWS}); err != nil {
		return err
	}
	w.OAuth, err = NewOAuth(OAuthOptions{Addr: o.Addrs.OAuth, CA: w.CA, Ledger: w.Ledger, Keys: o.Keys})
	if err != nil {
		return err
	}
	providers := map[string]Provider{
		DefaultProvider: {
			Issuer: w.IDP.Issuer(), JWKS: w.IDP.JWKSURL(), Audiences: []string{o.Audience, "https:" + DefaultProvider}, Groups: "groups",
		},
		DefaultAWSProvider: {AWSAccount: w.AWS.Account()},
	}
	maps.Copy(providers, o.Providers)
	w.keys = w.Client()
	w.STS, err = NewSTS(STSOptions{
		Addr: o.Addrs.STS, CA: w.CA, Ledger: w.Ledger, Client: w.keys, Providers: providers, AWS: w.AWS, Access: o.Access, TokenBytes: o.TokenBytes,
	})
	return err
}

// routes leads the real names to the parties that answer for them.
func (w *World) routes(hosts map[string]string) map[string]string {
	issuer := w.IDP.host
	if (&url.URL{Host: issuer}).Port() == "" {
		issuer += ":443"
	}
	routes := map[string]string{
		IAMHost + ":443": w.IAM.Addr(), STSHost + ":443": w.STS.Addr(), OAuthHost + ":443": w.OAuth.Addr(), issuer: w.IDP.Addr(),
	}
	for _, host := range slices.Concat(publicHosts(), slices.Collect(maps.Keys(hosts))) {
		routes[host+":443"] = w.Vertex.Addr()
	}
	return routes
}

// AgentEnv returns the environment, as NAME=VALUE, in which the agent finds all parties under their real names.
func (w *World) AgentEnv() []string {
	return []string{
		"HTTPS_PROXY=" + w.Egress.URL(),
		"SSL_CERT_FILE=" + w.CA.File(),
		"GCE_METADATA_HOST=" + w.Metadata.Addr(),
	}
}

// Client returns a client that reaches the parties under their real names, as the agent does: https through the egress proxy, trusting the
// sandbox's authority alone, and metadata services directly. The caller ends its idle connections.
func (w *World) Client() *http.Client {
	proxy := &url.URL{Scheme: "http", Host: w.Egress.Addr()}
	secured := func(r *http.Request) (*url.URL, error) {
		if r.URL.Scheme != "https" {
			return nil, nil
		}
		return proxy, nil
	}
	return &http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{
			Proxy:             secured,
			TLSClientConfig:   &tls.Config{RootCAs: w.CA.Pool()},
			ForceAttemptHTTP2: true,
		},
	}
}

// Close stops every party and waits for it. Later calls do nothing.
func (w *World) Close() error {
	var errs []error
	if w.keys != nil {
		w.keys.CloseIdleConnections()
	}
	if w.STS != nil {
		errs = append(errs, w.STS.Close())
	}
	if w.OAuth != nil {
		errs = append(errs, w.OAuth.Close())
	}
	if w.AWS != nil {
		errs = append(errs, w.AWS.Close())
	}
	if w.Egress != nil {
		errs = append(errs, w.Egress.Close())
	}
	if w.Vertex != nil {
		errs = append(errs, w.Vertex.Close())
	}
	if w.IAM != nil {
		errs = append(errs, w.IAM.Close())
	}
	if w.Metadata != nil {
		errs = append(errs, w.Metadata.Close())
	}
	if w.IDP != nil {
		errs = append(errs, w.IDP.Close())
	}
	return errors.Join(errs...)
}
