package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"vertex-spoa/test/fake"
)

// maxShots bounds the calls of one [Load]. Clients that have made so many end.
const maxShots = 200_000

// A Shot is what came of one call under load.
type Shot struct {
	Trace        string // value of the traceparent header, different for each call: it goes to the audit log and to Vertex AI
	Client       int
	Status       int    // 0 where there was no answer
	Reason       string // ErrorInfo's reason, if the answer is an error
	Err          error  // why there was no answer
	Began, Ended time.Time
}

// String is the status with its reason, or the error without addresses.
func (s Shot) String() string {
	if lost := new(net.OpError); errors.As(s.Err, &lost) {
		return lost.Op + ": " + lost.Err.Error()
	}
	if request := new(url.Error); errors.As(s.Err, &request) {
		return request.Err.Error()
	}
	if s.Err != nil {
		return s.Err.Error()
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", s.Status, s.Reason))
}

// Load is a number of clients, each on a connection of its own and each another caller, that call again as soon as they are answered, or,
// where that is not 200, a moment later.
type Load struct {
	cancel  context.CancelFunc
	clients sync.WaitGroup

	mu    sync.Mutex
	shots []Shot
	more  chan struct{} // closed at the next shot; nil while nobody waits
}

// StartLoad begins the load. It goes on until Stop.
func (s *Sandbox) StartLoad(ctx context.Context, clients int) (*Load, error) {
	var tokens []string
	for i := range clients {
		token, err := s.World.IDP.Token(fmt.Sprintf("client-%d@example.com", i), fake.Groups("search-eng"))
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, token)
	}
	s.World.Vertex.Take()
	ctx, cancel := context.WithCancel(ctx)
	l := &Load{cancel: cancel}
	for i, token := range tokens {
		l.clients.Go(func() {
			client := s.Client(HTTP1)
			defer client.CloseIdleConnections()
			for n := 0; ctx.Err() == nil; n++ {
				shot := s.shoot(client, i, n, token)
				if !l.add(shot) {
					return
				}
				if shot.Status != http.StatusOK {
					rest(ctx)
				}
			}
		})
	}
	return l, nil
}

// rest is what a client does after a failure, so that it does not flood HAProxy with calls that are refused at once.
func rest(ctx context.Context) {
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
	}
}

// shoot makes one call. It is not cut short at the end of the load: each call that was begun has its result.
func (s *Sandbox) shoot(client *http.Client, i, n int, token string) Shot {
	shot := Shot{Trace: fmt.Sprintf("00-%016x%016x-%016x-01", i+1, n+1, n+1), Client: i, Began: time.Now()}
	shot.Status, shot.Reason, shot.Err = s.fire(client, shot.Trace, token)
	shot.Ended = time.Now()
	return shot
}

func (s *Sandbox) fire(client *http.Client, trace, token string) (status int, reason string, err error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), 30*time.Second, errors.New("no answer within 30 s"))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+generate, strings.NewReader(prompt))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Traceparent", trace)
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, "", fmt.Errorf("status %d, then: %w", res.StatusCode, err)
	}
	return res.StatusCode, reasonOf(body), nil
}

// add keeps the shot and reports whether there is room for another one.
func (l *Load) add(s Shot) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shots = append(l.shots, s)
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
	return len(l.shots) < maxShots
}

// Wait returns when n more calls have come to their end.
func (l *Load) Wait(ctx context.Context, n int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for goal := len(l.shots) + n; len(l.shots) < goal; {
		if l.more == nil {
			l.more = make(chan struct{})
		}
		more := l.more
		l.mu.Unlock()
		var err error
		select {
		case <-more:
		case <-ctx.Done():
			err = fmt.Errorf("waiting for %d calls: %w", n, context.Cause(ctx))
		}
		l.mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

// Last is the call that came to its end last; the zero Shot if none has.
func (l *Load) Last() Shot {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.shots) == 0 {
		return Shot{}
	}
	return l.shots[len(l.shots)-1]
}

// Done is the number of calls that have come to their end.
func (l *Load) Done() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.shots)
}

// Failed is the number of those that were not answered 200.
func (l *Load) Failed() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.shots {
		if s.Status != http.StatusOK {
			n++
		}
	}
	return n
}

// Stop ends the load, waits for the calls under way, and returns all.
func (l *Load) Stop() []Shot {
	l.cancel()
	l.clients.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shots
}
