package fake

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	metadataclient "cloud.google.com/go/compute/metadata"
)

func TestAResetIsSeenAsOne(t *testing.T) {
	w := startWorld(t)
	w.Metadata.Fail(Fault{Reset: true, Times: 1})
	const path = "/computeMetadata/v1/project/project-id"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.Metadata.Addr()+path, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if res, err := web(t).Do(req); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, %v", res, err)
	}
	if all := w.Metadata.Refusals(); len(all) != 1 || all[0].Reason != Injected || all[0].Status != 0 {
		t.Errorf("got refusals %+v", all)
	}
	if got := direct(ask{method: "GET", url: path, header: [][2]string{flavor}})(t, w, nil); got.Status != http.StatusOK {
		t.Errorf("healed: got %d", got.Status)
	}
}

// Over HTTP/2 a reset ends every request of the connection, where Down ends one.
func TestAResetOverHTTP2EndsTheConnection(t *testing.T) {
	w := startWorld(t)
	c := client(t, w)
	exchanging(nil)(t, w, c)
	w.STS.Fail(Fault{Reset: true, Times: 1})
	req := ask{url: stsURL, body: exchangeForm(callerToken(t, w)).Encode(), header: [][2]string{formType}}.request(t)
	res, err := c.Do(req)
	if err == nil {
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	if err == nil {
		t.Error("got an answer")
	}
	if got := exchanging(nil)(t, w, c); got.Status != http.StatusOK {
		t.Errorf("healed: got %d: %s", got.Status, got.Body)
	}
}

func TestAPageStandsInForTheOwnShape(t *testing.T) {
	w := startWorld(t)
	w.STS.Fail(Fault{Status: 502, Page: "<html>Bad Gateway</html>", Times: 1})
	got := exchanging(nil)(t, w, client(t, w))
	if got.Status != 502 || got.Body != "<html>Bad Gateway</html>" || !strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") {
		t.Errorf("got %d %q: %s", got.Status, got.Header.Get("Content-Type"), got.Body)
	}
}

// Each habit is seen twice and then passes, as the clients of a metadata server know it.
func TestMetadataHabitsPass(t *testing.T) {
	w := startWorld(t)
	for name, fault := range MetadataHabits() {
		t.Run(name, func(t *testing.T) {
			w.Metadata.Fail(fault)
			before := w.Metadata.TokenRequests()
			for i, want := range []bool{false, false, true} {
				req := ask{method: "GET", url: "http://" + w.Metadata.Addr() + "/computeMetadata/v1/instance/service-accounts/default/token",
					header: [][2]string{flavor}}.request(t)
				res, err := web(t).Do(req)
				if err == nil {
					defer res.Body.Close()
				}
				if ok := err == nil && res.StatusCode == http.StatusOK; ok != want {
					t.Errorf("request %d: got %v, %v, want success %t", i+1, res, err, want)
				}
			}
			if n := w.Metadata.TokenRequests() - before; n < 3 {
				t.Errorf("got %d requests, want 3", n)
			}
		})
	}
}

// Google's own client sits out what it may retry, and so would the agent.
func TestGooglesMetadataClientOutlastsAStart(t *testing.T) {
	w := startWorld(t)
	t.Setenv("GCE_METADATA_HOST", w.Metadata.Addr())
	w.Metadata.Fail(MetadataHabits()["the server is starting"])
	got, err := metadataclient.NewClient(web(t)).GetWithContext(t.Context(), "instance/service-accounts/default/token")
	if err != nil || !strings.Contains(got, "access_token") {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if n := w.Metadata.TokenRequests(); n != 3 {
		t.Errorf("got %d requests, want 3", n)
	}
}
