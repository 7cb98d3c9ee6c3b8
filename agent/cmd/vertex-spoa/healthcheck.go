package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// healthcheck asks the running agent's /readyz, at the address its configuration names.
func healthcheck(args []string, stdout io.Writer) error {
	cfg, err := load("healthcheck", args)
	if err != nil {
		return err
	}
	switch {
	case cfg.Admin.Listen == "":
		return usageError("healthcheck: admin.listen is none, so the agent cannot be asked")
	case cfg.Admin.TLSCert != "":
		return usageError("healthcheck: the admin listener speaks TLS: ask /readyz with a client that has a certificate, such as curl")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	host, transport := cfg.Admin.Listen, &http.Transport{} // never through a proxy
	if path, unix := strings.CutPrefix(host, "unix@"); unix {
		host, transport.DialContext = "localhost", func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/readyz", nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: transport}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	defer res.Body.Close() //nolint:errcheck // nothing is lost
	var body struct{ Policy string }
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&body); err != nil {
		return fmt.Errorf("not ready: unreadable answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: status %d", res.StatusCode)
	}
	_, err = fmt.Fprintf(stdout, "ready, policy %s\n", body.Policy)
	return err
}
