package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// healthcheck asks the running agent's /readyz, at the address its configuration names.
func healthcheck(args []string, stdout io.Writer) error {
	cfg, err := load("healthcheck", args)
	if err != nil {
		return err
	}
	if cfg.Admin.Listen == "" {
		return usageError("healthcheck: admin.listen is empty, so the agent cannot be asked")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+cfg.Admin.Listen+"/readyz", nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{}} // never through a proxy
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
