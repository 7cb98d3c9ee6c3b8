package provider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// DexOptions describe a Dex. All are required.
type DexOptions struct {
	Binary   string        // built by `make dex`
	Issuer   string        // https://NAME
	Cert     string        // PEM file with a certificate for that name and its private key
	CA       string        // PEM file with who vouches for that certificate
	Client   Client        // whose ID is the audience of the ID tokens
	Users    []User        // who can sign in with a password
	Rotation time.Duration // how old signing keys become. Dex looks every 30 seconds
	Lifetime time.Duration // of tokens, and of keys that no longer sign
	Dir      string        // for its configuration and its log
}

// User signs in with a password.
type User struct {
	Email, Password string
	Groups          []string
}

// Dex is the identity provider of that name, in a process of its own. It listens on loopback, for requests under the issuer's name. It
// changes its keys by itself.
type Dex struct {
	options DexOptions
	program *Program
	addr    string
}

// StartDex starts a Dex and waits until it answers.
func StartDex(ctx context.Context, o DexOptions) (*Dex, error) {
	if _, err := os.Stat(o.Binary); err != nil {
		return nil, fmt.Errorf("dex: %w: `make dex` builds it where its modules can be had", ErrMissing)
	}
	binary, err := filepath.Abs(o.Binary)
	if err != nil {
		return nil, fmt.Errorf("start dex: %w", err)
	}
	d := &Dex{options: o}
	// Dex wants to be told its address, which somebody else may have taken before it listens.
	for range 3 {
		if err = d.start(ctx, binary); !errors.Is(err, errEnded) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("start dex: %w", err)
	}
	return d, nil
}

// errEnded is the error of a Dex that ends before it has answered.
var errEnded = errors.New("it has ended")

// start starts the program at an address of its own, and waits until it answers.
func (d *Dex) start(ctx context.Context, binary string) error {
	config, err := d.configure()
	if err != nil {
		return err
	}
	path := filepath.Join(d.options.Dir, "dex.json")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		return err
	}
	if d.program, err = start(ctx, filepath.Join(d.options.Dir, "dex.log"), nil, d.options.Dir, binary, "serve", path); err != nil {
		return err
	}
	if err := d.wait(ctx); err != nil {
		d.Close()
		return fmt.Errorf("%w%s", err, d.program.said())
	}
	return nil
}

// configure chooses an address and returns the configuration, which is YAML, and so may be JSON.
func (d *Dex) configure() ([]byte, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d.addr = l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	var users []map[string]any
	for i, u := range d.options.Users {
		hash, err := bcrypt.GenerateFromPassword([]byte(u.Password), bcrypt.DefaultCost) // Dex takes no cheaper one
		if err != nil {
			return nil, err
		}
		users = append(users, map[string]any{
			"email": u.Email, "username": u.Email, "userID": fmt.Sprintf("user-%d", i+1), "hash": string(hash), "groups": u.Groups,
		})
	}
	o := d.options
	return json.Marshal(map[string]any{
		"issuer":           o.Issuer,
		"storage":          map[string]string{"type": "memory"},
		"web":              map[string]string{"https": d.addr, "tlsCert": o.Cert, "tlsKey": o.Cert},
		"expiry":           map[string]string{"signingKeys": o.Rotation.String(), "idTokens": o.Lifetime.String()},
		"oauth2":           map[string]any{"passwordConnector": "local", "grantTypes": []string{"password"}},
		"enablePasswordDB": true,
		"staticPasswords":  users,
		"staticClients":    []map[string]string{{"id": o.Client.ID, "secret": o.Client.Secret, "name": o.Client.ID}},
	})
}

// wait asks for the discovery document until it comes.
func (d *Dex) wait(ctx context.Context) error {
	name, err := url.Parse(d.options.Issuer)
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(d.options.CA)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: name.Hostname(), MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, d.addr)
		},
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("no answer in 30 s"))
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	exited := d.program.exited
	go func() { // whoever has taken the address may keep a request waiting
		select {
		case <-exited:
			end(errEnded)
		case <-ctx.Done():
		}
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		res, err := send(ctx, &http.Client{Transport: transport}, http.MethodGet, d.options.Issuer+"/.well-known/openid-configuration", nil)
		if err == nil && res.StatusCode == http.StatusOK {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Addr returns the HOST:PORT that the issuer's name must lead to.
func (d *Dex) Addr() string { return d.addr }

// Close ends the provider.
func (d *Dex) Close() { d.program.Close() }

// SignIn returns the ID token that the client gets for a user's password (RFC 6749 section 4.3).
func (d *Dex) SignIn(ctx context.Context, hc *http.Client, u User) (string, error) {
	c := d.options.Client
	res, err := send(ctx, hc, http.MethodPost, d.options.Issuer+"/token", url.Values{
		"grant_type": {"password"}, "client_id": {c.ID}, "client_secret": {c.Secret}, "username": {u.Email}, "password": {u.Password},
		"scope": {"openid email groups"},
	})
	if err != nil {
		return "", fmt.Errorf("sign %q in: %w", u.Email, err)
	}
	var answer struct {
		IDToken string `json:"id_token"`
		Error   string `json:"error_description"`
	}
	if err := json.Unmarshal([]byte(res.body), &answer); err != nil || answer.IDToken == "" {
		return "", fmt.Errorf("sign %q in: %s: %q", u.Email, res.Status, answer.Error)
	}
	return answer.IDToken, nil
}
