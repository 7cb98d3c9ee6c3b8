package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"vertex-spoa/agent"
	"vertex-spoa/agent/internal/config"
	"vertex-spoa/agent/internal/google"
)

// tokenSource returns the source of Google's tokens that the configuration describes, and the client that also fetches issuers' keys.
func tokenSource(ctx context.Context, cfg *config.Config, log *slog.Logger, metrics *agent.Metrics) (*google.Source, *http.Client, error) {
	if err := google.CheckEnvironment(); err != nil {
		return nil, nil, err
	}
	client, err := google.Egress{CAFile: cfg.Google.CA}.Client() // honours HTTPS_PROXY and SSL_CERT_FILE
	if err != nil {
		return nil, nil, fmt.Errorf("google.ca: %w", err)
	}
	base, info, err := google.Credentials(ctx, google.BaseConfig{
		File: credentialFile(cfg), STSEndpoint: cfg.Google.STSEndpoint, IAMEndpoint: cfg.Google.Endpoint,
		UniverseDomain: cfg.Google.UniverseDomain, Client: client, Log: log,
	})
	if err != nil {
		return nil, nil, err
	}
	log.Info("own credentials", "kind", info.Kind, "source", info.Source, "file", info.File, "account", info.Account)
	source, err := google.New(google.Config{
		Base: base, BaseChanged: info.Changed, UniverseDomain: info.UniverseDomain,
		Endpoint: cfg.Google.Endpoint, STSEndpoint: cfg.Google.STSEndpoint, ExchangesPerMinute: cfg.Google.ExchangesPerMinute,
		Client: client, Log: log, OnMint: metrics.Minted, OnExchange: metrics.Exchanged,
	})
	return source, client, err
}

// credentialFile is the file that the configuration names or, as with Google's own libraries, GOOGLE_APPLICATION_CREDENTIALS.
func credentialFile(cfg *config.Config) string {
	if cfg.Google.Credentials != "" {
		return cfg.Google.Credentials
	}
	return os.Getenv("GOOGLE_APPLICATION_CREDENTIALS")
}

// stamp returns what makes X-Goog-Request-Reason, nil for none.
func stamp(cfg *config.Config) (func(id, subject string) string, error) {
	switch cfg.Google.RequestReason {
	case "id":
		return agent.StampID, nil
	case "plain":
		return agent.StampPlain, nil
	case "hmac":
		key, err := os.ReadFile(cfg.Google.RequestReasonKey)
		if err != nil {
			return nil, fmt.Errorf("google.request_reason_key: %w", err)
		}
		s, err := agent.StampHMAC(key)
		if err != nil {
			return nil, fmt.Errorf("google.request_reason_key: %w", err)
		}
		return s, nil
	}
	return nil, nil
}
