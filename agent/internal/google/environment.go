package google

import (
	"fmt"
	"os"
	"strings"
)

// CheckEnvironment returns an error if an environment variable makes a library print tokens: GOOGLE_SDK_GO_LOGGING_LEVEL=debug (Google's
// libraries) or http2debug in GODEBUG (net/http).
func CheckEnvironment() error {
	const level = "GOOGLE_SDK_GO_LOGGING_LEVEL"
	if v := os.Getenv(level); strings.EqualFold(v, "debug") {
		return fmt.Errorf("%s=%q makes libraries print access tokens: unset it", level, v)
	}
	for setting := range strings.SplitSeq(os.Getenv("GODEBUG"), ",") {
		if name, value, _ := strings.Cut(setting, "="); name == "http2debug" && value != "0" {
			return fmt.Errorf("GODEBUG=%q makes net/http print access tokens: remove it", setting)
		}
	}
	return nil
}
