package google

import (
	"fmt"
	"net/url"
	"os"
	"strings"
)

// CheckEnvironment returns an error if an environment variable may make a library print tokens: GOOGLE_SDK_GO_LOGGING_LEVEL (Google's
// libraries, which print them at one level today) or http2debug in GODEBUG (net/http, which looks for that text and not for a setting).
// So does a proxy that would be passed by, because its address cannot be read.
func CheckEnvironment() error {
	const level = "GOOGLE_SDK_GO_LOGGING_LEVEL"
	if v := os.Getenv(level); v != "" {
		return fmt.Errorf("%s=%.40q makes libraries print access tokens: unset it", level, v)
	}
	for setting := range strings.SplitSeq(os.Getenv("GODEBUG"), ",") {
		if strings.Contains(setting, "http2debug") && setting != "http2debug=0" {
			return fmt.Errorf("GODEBUG=%.40q makes net/http print access tokens: remove it", setting)
		}
	}
	return checkProxy()
}

// checkProxy returns an error if a proxy of the environment cannot be read. net/http would do without it and connect directly.
func checkProxy() error {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
		text := os.Getenv(name)
		if text == "" {
			continue
		}
		u, err := url.Parse(text)
		if err != nil || u.Scheme == "" || u.Host == "" {
			u, err = url.Parse("http://" + text) // as net/http reads a host without scheme
		}
		if err != nil || u.Hostname() == "" || strings.HasSuffix(u.Host, ":") {
			return fmt.Errorf("%s is not the URL of a proxy, and would be ignored: mend or unset it", name) // it may hold a password
		}
	}
	return nil
}
