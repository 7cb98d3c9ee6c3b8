package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Options are what a Verifier needs from outside.
type Options struct {
	// Client fetches discovery documents and key sets. It is required, and not changed: a copy that refuses redirects to other hosts and
	// keeps no cookies is used, and each fetch ends after 5 s.
	Client *http.Client
	// Log gets a line when an issuer's keys change or cannot be fetched. It is required.
	Log *slog.Logger
	// OnKeys, if not nil, is called after each fetch with the Issuer.Name, the number of keys now held, and the error of a fetch that
	// failed. It is called by one goroutine per issuer and must not block.
	OnKeys func(issuer string, keys int, err error)
}

// Verifier verifies tokens of a fixed list of issuers. Its methods are safe for concurrent use.
type Verifier struct {
	options Options
	client  *http.Client
	issuers []*issuer          // in the order of the configuration
	byURL   map[string]*issuer // by the exact iss, which comes before what follows
	several []*issuer          // those that answer to several iss, or to none
	holders []*issuer          // those whose callers have certificates alone
	opaque  []*issuer          // those whose tokens need not be JWTs
	byName  map[string]*issuer
	sets    map[source]*keySet
	closing sync.Once
}

// IssuerStatus describes the keys of one issuer.
type IssuerStatus struct {
	Name    string        // Issuer.Name
	Usable  bool          // callers can be verified: there are keys, and they are not too old, or no keys are needed
	Keys    int           // in use
	Dropped int           // in the same document, but not usable
	Age     time.Duration // since they were fetched; 0 without keys
	Error   string        // of the last fetch, or ""; it holds no secret

	NextRefresh time.Duration // until the next fetch; 0 before the first has ended
	Failures    uint64        // fetches that failed, since the keys are looked after
	UnknownKeys uint64        // tokens that named a key which was not there at first, since the keys are looked after
}

// MarshalJSON writes the times in whole seconds, and leaves out what is not the case.
func (s IssuerStatus) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Name        string `json:"name"`
		Usable      bool   `json:"usable"`
		Keys        int    `json:"keys"`
		Dropped     int    `json:"dropped,omitempty"`
		Age         int64  `json:"age_seconds"`
		Error       string `json:"error,omitempty"`
		NextRefresh int64  `json:"next_refresh_seconds"`
		Failures    uint64 `json:"failures"`
		UnknownKeys uint64 `json:"unknown_keys"`
	}{
		s.Name, s.Usable, s.Keys, s.Dropped, int64(s.Age / time.Second), s.Error, int64(s.NextRefresh / time.Second), s.Failures, s.UnknownKeys,
	})
}

// New returns a Verifier of issuers, or every problem of them, joined. It starts one goroutine per issuer that fetches its keys, and does
// not wait: an issuer that is down answers ISSUER_UNAVAILABLE until it is back. Close ends the goroutines.
func New(issuers []Issuer, o Options) (*Verifier, error) {
	if o.Client == nil || o.Log == nil {
		return nil, errors.New("identity: a client and a log are required")
	}
	client := &http.Client{Transport: o.Client.Transport, Timeout: o.Client.Timeout, CheckRedirect: sameOrigin}
	return build(issuers, o, client, nil)
}

// With returns a Verifier of issuers, for the next policy, under the same Options. An issuer whose URL and key source are those of an
// issuer of v shares its keys, which are not fetched again. Both Verifiers work until each is closed.
func (v *Verifier) With(issuers []Issuer) (*Verifier, error) {
	return build(issuers, v.options, v.client, v.sets)
}

func build(configured []Issuer, o Options, client *http.Client, shared map[source]*keySet) (*Verifier, error) {
	v := &Verifier{
		options: o, client: client,
		byURL: map[string]*issuer{}, byName: map[string]*issuer{}, sets: map[source]*keySet{},
	}
	if err := v.configure(configured); err != nil {
		return nil, err
	}
	for _, i := range v.issuers {
		if !i.byToken() {
			continue
		}
		from := i.source(i.profile)
		set, found := shared[from]
		if !found || !set.share(i.Name) {
			set = newKeySet(i.Name, from, o, client)
		}
		i.keys, v.sets[from] = set, set
	}
	return v, nil
}

// configure fills the tables and starts nothing.
func (v *Verifier) configure(configured []Issuer) error {
	var problems []error
	if len(configured) == 0 {
		problems = append(problems, errors.New("no issuer is configured"))
	}
	for _, c := range configured {
		i, err := newIssuer(c, v.client)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if v.byName[i.Name] != nil {
			problems = append(problems, fmt.Errorf("issuer %q: name is used twice", i.Name))
		}
		if slices.ContainsFunc(v.issuers, func(other *issuer) bool { return i.URL != "" && other.URL == i.URL }) {
			problems = append(problems, fmt.Errorf("issuer %q: url %q is used twice", i.Name, i.URL))
		}
		v.add(i)
	}
	if len(v.opaque) > 1 {
		problems = append(problems, fmt.Errorf("issuers %q and %q both take opaque tokens, which do not say whose they are", v.opaque[0].Name, v.opaque[1].Name))
	}
	return errors.Join(problems...)
}

func (v *Verifier) add(i *issuer) {
	v.issuers = append(v.issuers, i)
	v.byName[i.Name] = i
	switch {
	case !i.byToken():
		v.holders = append(v.holders, i)
	case i.profile.accepts != nil:
		v.several = append(v.several, i)
		fallthrough
	default:
		v.byURL[i.URL] = i
	}
	if i.introspector != nil && i.Introspection.Opaque {
		v.opaque = append(v.opaque, i)
	}
}

// Close gives up v's share of each key set. A set that no other Verifier shares stops its goroutine, and Close waits for it. Close can be
// called more than once. Identify goes on to work with the keys in hand, until they are too old.
func (v *Verifier) Close() {
	v.closing.Do(func() {
		for _, set := range v.sets {
			set.release()
		}
		for _, i := range v.issuers {
			if i.introspector != nil {
				i.introspector.close()
			}
		}
	})
}

// Ready returns when the first fetch of every issuer has ended, well or not, or when ctx is done.
func (v *Verifier) Ready(ctx context.Context) {
	for _, i := range v.issuers {
		if i.keys == nil {
			continue
		}
		select {
		case <-i.keys.first:
		case <-ctx.Done():
			return
		}
	}
}

// Status returns one entry per issuer, in the order of the configuration.
func (v *Verifier) Status() []IssuerStatus {
	list := make([]IssuerStatus, len(v.issuers))
	for n, i := range v.issuers {
		list[n].Usable = true
		if i.keys != nil {
			list[n] = i.keys.status(i.MaxStale)
		}
		list[n].Name = i.Name
	}
	return list
}

// Generation returns a number that changes whenever the usable keys of the issuer of that name change, and 0 while it has none or needs
// none. Whoever remembers an Identity must forget it when the number is no longer that of the Identity: its key may have been withdrawn.
func (v *Verifier) Generation(issuer string) uint64 {
	if i := v.byName[issuer]; i != nil {
		return i.generation()
	}
	return 0
}

func (i *issuer) generation() uint64 {
	if i.keys == nil {
		return 0
	}
	if r := i.keys.usable(i.MaxStale); r != nil {
		return r.generation
	}
	return 0
}
