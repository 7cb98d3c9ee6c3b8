package sandbox

import (
	"fmt"
	"io"
)

// PrintCommands prints a command for each role that a person can paste into a shell, and where to look afterwards.
func (s *Sandbox) PrintCommands(w io.Writer) error {
	fmt.Fprintf(w, "\nHAProxy listens at %s. The tokens below are valid for 10 minutes; ^C ends everything.\n", s.URL)
	for _, c := range []struct{ remark, group, target string }{
		{"role search", "search-eng", generate},
		{"role search, streamed", "search-eng", stream},
		{"role research", "research", base + "gemini-2.5-pro:generateContent"},
		{"no role at all", "sales", generate},
	} {
		token, err := s.Caller(c.group)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "\n# %s\ncurl -sN --cacert %s -H 'Content-Type: application/json' \\\n  -H 'Authorization: Bearer %s' \\\n  -d '%s' \\\n  '%s%s'\n",
			c.remark, s.World.CA.File(), token, prompt, s.URL, c.target)
	}
	_, err := fmt.Fprintf(w, "\n# what was decided, what is in force, and the policy to edit\ntail -f %s\ncurl -s http://%s/readyz\n$EDITOR %s\n",
		s.auditPath(), s.admin, s.PolicyDir())
	return err
}
