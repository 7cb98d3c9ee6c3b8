package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const marker = "ya29.MARKER-that-must-not-show"

func TestTextNeverPrints(t *testing.T) {
	text := New(marker)
	type holder struct {
		Public  Text
		private Text
		pointer *Text
	}
	h := holder{text, text, &text}
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(handler).Info("event", "text", text, "holder", h, "pointer", &text)
	}
	encoded, err := json.Marshal(map[string]any{"text": text, "holder": h, "key": map[Text]int{text: 1}})
	if err != nil {
		t.Fatal(err)
	}
	printed := map[string]string{
		"log":   log.String(),
		"json":  string(encoded),
		"error": fmt.Errorf("operation with %v: %w", text, errors.New("cause")).Error(),
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%T", "%10.3s"} {
		printed[verb] = fmt.Sprintf(verb, text) + fmt.Sprintf(verb, h) + fmt.Sprintf(verb, &text) + fmt.Sprintf(verb, []Text{text})
	}
	for how, got := range printed {
		for _, form := range []string{marker, fmt.Sprintf("%x", marker), fmt.Sprintf("%X", marker), "MARKER"} {
			if strings.Contains(got, form) {
				t.Errorf("%s shows the secret: %s", how, got)
			}
		}
	}
}

func TestTextKeepsItsContent(t *testing.T) {
	if got := New(marker).Reveal(); got != marker {
		t.Errorf("Reveal() = %q, want %q", got, marker)
	}
	if got, want := New(marker).Len(), len(marker); got != want {
		t.Errorf("Len() = %d, want %d", got, want)
	}
	if got := New("").String() + New("").Fingerprint() + (Text{}).Reveal(); got != "" {
		t.Errorf("the empty text prints %q, want nothing", got)
	}
}

func TestFingerprintTellsTextsApart(t *testing.T) {
	if New("a").Fingerprint() == New("b").Fingerprint() {
		t.Error("two texts share a fingerprint")
	}
	if got, want := New("a").Fingerprint(), "ca978112ca1bbdca"; got != want {
		t.Errorf("Fingerprint() = %q, want %q (first 8 bytes of SHA-256)", got, want)
	}
}
