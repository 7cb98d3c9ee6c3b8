package agent

import (
	"net/http"
	"time"

	"vertex-spoa/spoe"
)

// messageResponse is the name of the message that tells how Google answered. It is sent when Google has refused the token, or for every
// answer, as HAProxy's configuration says.
const messageResponse = "response"

// respond takes the message "response", if there is one, and reports whether there is. It is acknowledged before anything is done: the
// answer to the caller waits for that.
func (a *Agent) respond(n *spoe.Notify, reply spoe.Reply) bool {
	messages := n.Messages()
	for i := range messages {
		if messages[i].Name != messageResponse {
			continue
		}
		args := arguments{message: &messages[i]}
		status, id, token := args.integer("status", required), args.text("id", required), args.text("token", optional)
		refused := status == http.StatusUnauthorized && len(args.faults) == 0
		fingerprint := string(append([]byte(nil), token...)) // n ends with its reply
		logged := string(append([]byte(nil), cut(id, maxText)...))
		if err := reply([]spoe.Action{spoe.SetString(scope, "noted", "1")}); err != nil {
			a.cfg.Metrics.undelivered()
		}
		if len(args.faults) == 0 {
			now := time.Now()
			a.guarded(func() {
				for _, answered := range a.cfg.Answered {
					answered(logged, int(status), now)
				}
			})
		}
		if refused {
			a.refusedByGoogle(logged, fingerprint)
		}
		return true
	}
	return false
}

// refusedByGoogle forgets a token that Google does not accept, although it should. The next request gets a new one.
func (a *Agent) refusedByGoogle(id, fingerprint string) {
	a.cfg.Metrics.refused()
	found := fingerprint != "" && a.cfg.Tokens.DropFingerprint(fingerprint)
	a.cfg.Log.Warn("google refused a token", "id", id, "token_fingerprint", fingerprint, "at_hand", found)
}
