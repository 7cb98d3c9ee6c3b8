package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/genai"
)

// clientScenarios use Google's own SDK, pointed at HAProxy with the caller's token.
func clientScenarios() []Scenario {
	return []Scenario{
		{"Google's Go SDK: generateContent", "text as vx-search", withSDK(sdkGenerate)},
		{"Google's Go SDK: streaming", "several chunks of text as vx-search", withSDK(sdkStream)},
		{"Google's Go SDK: countTokens", "a number of tokens as vx-search", withSDK(sdkCount)},
		{"Google's Go SDK: embedContent", "a vector as vx-search", withSDK(sdkEmbed)},
		{"Google's Go SDK: a denial is its APIError", "403 PERMISSION_DENIED NOT_ALLOWED, nothing forwarded", withSDK(sdkDenied)},
	}
}

func withSDK(use func(context.Context, *genai.Client) (string, error)) func(context.Context, *Sandbox) (string, error) {
	return func(ctx context.Context, s *Sandbox) (string, error) {
		s.World.Vertex.Take()
		token, err := s.Caller("search-eng")
		if err != nil {
			return "", err
		}
		client, err := genai.NewClient(ctx, &genai.ClientConfig{
			Backend: genai.BackendVertexAI, Project: Project, Location: "europe-west1",
			HTTPClient:  s.clients[HTTP2],
			HTTPOptions: genai.HTTPOptions{BaseURL: s.URL, Headers: http.Header{"Authorization": {"Bearer " + token}}},
		})
		if err != nil {
			return "", err
		}
		got, err := use(ctx, client)
		return got + s.forwarded(token), err
	}
}

func sdkGenerate(ctx context.Context, c *genai.Client) (string, error) {
	res, err := c.Models.GenerateContent(ctx, "gemini-2.5-flash", genai.Text("Say hello."), nil)
	if err != nil || res.Text() == "" {
		return "no text", err
	}
	return "text", nil
}

func sdkStream(ctx context.Context, c *genai.Client) (string, error) {
	chunks := 0
	for res, err := range c.Models.GenerateContentStream(ctx, "gemini-2.5-flash", genai.Text("Say hello."), nil) {
		if err != nil {
			return "", err
		}
		if res.Text() != "" {
			chunks++
		}
	}
	if chunks < 2 {
		return fmt.Sprintf("%d chunks", chunks), nil
	}
	return "several chunks of text", nil
}

func sdkCount(ctx context.Context, c *genai.Client) (string, error) {
	res, err := c.Models.CountTokens(ctx, "gemini-2.5-flash", genai.Text("Say hello."), nil)
	if err != nil || res.TotalTokens < 1 {
		return "no number", err
	}
	return "a number of tokens", nil
}

func sdkEmbed(ctx context.Context, c *genai.Client) (string, error) {
	res, err := c.Models.EmbedContent(ctx, "text-embedding-005", genai.Text("Say hello."), nil)
	if err != nil || len(res.Embeddings) == 0 || len(res.Embeddings[0].Values) == 0 {
		return "no vector", err
	}
	return "a vector", nil
}

func sdkDenied(ctx context.Context, c *genai.Client) (string, error) {
	_, err := c.Models.GenerateContent(ctx, "claude-opus-4", genai.Text("Say hello."), nil)
	var denied genai.APIError
	if !errors.As(err, &denied) {
		return "no APIError", err
	}
	var reasons []string
	for _, d := range denied.Details {
		if reason, ok := d["reason"].(string); ok {
			reasons = append(reasons, reason)
		}
	}
	return fmt.Sprintf("%d %s %s", denied.Code, denied.Status, strings.Join(reasons, " ")), nil
}
