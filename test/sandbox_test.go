package test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMakeSandbox starts what `make sandbox` starts, plays the curl commands it prints, and ends it as ^C does.
func TestMakeSandbox(t *testing.T) {
	cmd := makeCommand(t, "sandbox")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C reaches the whole group
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	text := printedCommands(t, out)
	commands := regexp.MustCompile(`--cacert (\S+) .*\\\n.*Authorization: (Bearer \S+)' \\\n\s*-d '(.*)' \\\n\s*'(\S+)'`).FindAllStringSubmatch(text, -1)
	want := []int{200, 200, 200, 403} // the last one is of a caller without a role
	if len(commands) != len(want) {
		t.Fatalf("%d curl commands, want %d:\n%s", len(commands), len(want), text)
	}
	for i, c := range commands {
		if got := replay(t, c[1], c[2], c[3], c[4]); got != want[i] {
			t.Errorf("command %d: status %d, want %d", i, got, want[i])
		}
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // make itself reports the interruption as a failure
}

// printedCommands reads the output until the last command is there.
func printedCommands(t *testing.T, out interface{ Read([]byte) (int, error) }) string {
	t.Helper()
	found := make(chan string, 1)
	go func() {
		var b strings.Builder
		for lines := bufio.NewScanner(out); lines.Scan(); {
			b.WriteString(lines.Text() + "\n")
			if strings.HasPrefix(lines.Text(), "$EDITOR") {
				found <- b.String()
				b.Reset()
			}
		}
	}()
	select {
	case text := <-found:
		return text
	case <-time.After(5 * time.Minute): // it builds the program first
		t.Fatal("the commands did not come")
		return ""
	}
}

func replay(t *testing.T, ca, authorization, body, url string) int {
	t.Helper()
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", authorization)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode
}
