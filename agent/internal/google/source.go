// Package google mints short-lived access tokens of Google service accounts and keeps them fresh, so that a request that needs one finds
// it at hand.
//
// The agent has one identity of its own, a [Base] that [Credentials] finds; with it a [Source] calls generateAccessToken of the IAM Service
// Account Credentials API, once per service account and half an hour and not once per request. A token is refreshed in the background after
// a half to five eighths of its life, so that of an hour more than 20 minutes are left. If that fails the token at hand serves on until
// shortly before it expires, and the mint is tried again with growing pauses; from then on callers are refused until Google answers again.
// While IAM fails for several accounts, one call on trial stands for all.
//
// Where a [Request] has an [Exchange], the caller's own token is exchanged at Google's Security Token Service (RFC 8693), so that Google
// sees the caller. Such tokens are remembered per caller, within bounds, and refreshed by the caller's next request alone.
//
// Nothing is ever minted from another identity than the one configured, and no answer stands in for a token: a Token without an error is
// never empty, expired or of another account.
package google

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/errgroup"
)

const (
	defaultEntries = 10_000
	maxParallel    = 32 // calls to IAM at once, refreshes included; more wait their turn
)

// Config is what a Source needs. It is not used after New.
type Config struct {
	// Base is the source of the agent's own token. Required.
	Base Base
	// Endpoint is the URL that stands in for https://iamcredentials.googleapis.com, such as that of a Private Service Connect endpoint:
	// https, or http on a loopback address, without path or query. Optional.
	Endpoint string
	// STSEndpoint is the URL that stands in for https://sts.googleapis.com, where callers' tokens are exchanged; as Endpoint. Optional.
	STSEndpoint string
	// UniverseDomain is the domain of the cloud, see BaseInfo. Default googleapis.com.
	UniverseDomain string
	// BaseChanged is asked once a second whether Base has changed; when it says so a new token of the agent is fetched, see
	// BaseInfo.Changed. Optional.
	BaseChanged func() bool
	// ExchangesPerMinute bounds the calls to STS; more are refused with ExchangeLimit. Default 5,000: Google's quota is 6,000 a minute
	// for all that share a project.
	ExchangesPerMinute int
	// Exchanged and ExchangedBytes bound the callers' exchanged tokens that are held, by number and by memory; when one more comes, the one
	// used least recently is forgotten and exchanged again when it is needed. Defaults 100,000 and 512 MiB.
	Exchanged, ExchangedBytes int
	// OnExchange is called after every attempt to exchange a caller's token, like OnMint. Optional.
	OnExchange func(audience string, d time.Duration, err error)
	// Client carries the calls to IAM Credentials and STS: egress proxy, certificate authorities. Only its Transport is used; redirects are not
	// followed and deadlines are the Source's. Optional, default a transport like http.DefaultTransport.
	Client *http.Client
	// Log is told when a refresh in the background begins to fail and when it works again. Optional.
	Log *slog.Logger
	// OnMint is called after every attempt to mint a token of an account, with how long it took and its error. It must be safe for
	// concurrent use and quick. Optional.
	OnMint func(account string, d time.Duration, err error)
	// Entries bounds the requests that are held because they are in use: when one more comes, the one used least recently is forgotten
	// and no longer refreshed. Those that Keep names are held besides, up to the same number. Default 10,000.
	Entries int
}

// Source mints tokens and keeps them. It is safe for concurrent use. Close ends it.
type Source struct {
	own     *entry
	iam     *iam
	callers *exchanges
	tasks   *tasks
	log     *slog.Logger
	entries int

	kept atomic.Pointer[map[key]*entry] // never changed once stored
	used *lru.Cache[key, *entry]        // of no key in kept

	unfollow context.CancelFunc // nil if nobody follows the base

	mu     sync.Mutex // orders changes of kept and used; look-ups do without
	closed bool
}

// AccountStatus describes the token of one Request, for people and for metrics.
type AccountStatus struct {
	// Account is the e-mail of the account.
	Account string `json:"account"`
	// Expiry is when the token at hand expires, zero if there is none that can be used.
	Expiry time.Time `json:"expiry,omitzero"`
	// Minted is when it came, zero likewise.
	Minted time.Time `json:"minted,omitzero"`
	// Kept is true if the running policy names the request; see Source.Keep.
	Kept bool `json:"kept"`
	// Reason, Error and Fix tell of the last mint if that failed, as those of an Error; they are empty if it did not.
	Reason Reason `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
	Fix    string `json:"fix,omitempty"`
}

// New returns a Source. It asks nobody yet, but has the agent's own token fetched in the background. It fails if a part is missing or
// malformed, and if CheckEnvironment does.
func New(c Config) (*Source, error) {
	if c.Base == nil {
		return nil, errors.New("new token source: no base")
	}
	if c.Entries < 0 {
		return nil, fmt.Errorf("new token source: %d entries", c.Entries)
	}
	if err := CheckEnvironment(); err != nil {
		return nil, fmt.Errorf("new token source: %w", err)
	}
	s := &Source{tasks: &tasks{}, log: c.Log, entries: cmp.Or(c.Entries, defaultEntries)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.kept.Store(&map[key]*entry{})
	var err error
	if s.used, err = lru.New[key, *entry](s.entries); err != nil {
		return nil, fmt.Errorf("new token source: %w", err)
	}
	s.own = s.newEntry("", c.Base.abandonable().mint)
	if s.iam, err = newIAM(c, s.own); err != nil {
		return nil, fmt.Errorf("new token source: %w", err)
	}
	if s.callers, err = newExchanges(c, s.iam, func(account, audience string) *entry {
		return &entry{account: account, audience: audience, tasks: s.tasks, log: s.log}
	}); err != nil {
		s.iam.close()
		return nil, fmt.Errorf("new token source: %w", err)
	}
	s.own.keep(true)
	if c.BaseChanged != nil {
		s.follow(c.BaseChanged)
	}
	return s, nil
}

func (s *Source) newEntry(account string, mint mintFunc) *entry {
	return &entry{account: account, mint: mint, tasks: s.tasks, log: s.log}
}

const followPeriod = time.Second

// follow has the agent's own token fetched anew when its base has changed. A token of the old base serves until then.
func (s *Source) follow(changed func() bool) {
	ctx, cancel := context.WithCancel(context.Background())
	s.unfollow = cancel
	s.tasks.start(func() {
		tick := time.NewTicker(followPeriod)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if changed() {
				s.own.refresh(s.own.mint)
			}
		}
	})
}

// Token returns a token for r that is good for the next minute at least, or for the next tenth of its life if that is less.
//
// A token at hand is returned at once, whatever ctx says. Otherwise Token waits for a mint, which it shares with all other callers and
// which goes on if ctx ends. A ctx that is done never waits: Token then starts the mint in the background and returns an error for which
// errors.Is(err, ctx.Err()) is true, and the caller repeats with a live one. After a failed mint there is a pause of up to half a minute
// (a minute if Google asks for it) in which Token returns that failure at once, whether ctx is done or not.
//
// The error is an *Error.
func (s *Source) Token(ctx context.Context, r Request) (Token, error) {
	if r.Exchange != nil {
		return s.callers.token(ctx, r)
	}
	e, err := s.entry(r)
	if err != nil {
		return Token{}, err
	}
	return e.get(ctx)
}

// entry returns the entry of r, new if need be.
func (s *Source) entry(r Request) (*entry, error) {
	k := r.key()
	if e := s.find(k); e != nil && !r.hasSubject() {
		return e, nil
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, &Error{Reason: MintUnavailable, Account: r.Account, Detail: "the source is closed"}
	}
	if e := s.find(k); e != nil { // another caller was quicker
		return e, nil
	}
	e := s.newAccount(r)
	s.hold(k, e)
	return e, nil
}

func (s *Source) newAccount(r Request) *entry {
	r = r.clone()
	return s.newEntry(r.Account, func(ctx context.Context) (Token, error) { return s.iam.mint(ctx, r) })
}

// find returns the entry of k, nil if there is none.
func (s *Source) find(k key) *entry {
	if e, ok := (*s.kept.Load())[k]; ok {
		return e
	}
	e, _ := s.used.Get(k)
	return e
}

// hold puts e among those in use; the one that has to go for it is stopped. The caller holds mu.
func (s *Source) hold(k key, e *entry) {
	if s.used.Len() >= s.entries {
		if _, oldest, ok := s.used.RemoveOldest(); ok {
			oldest.stop()
		}
	}
	s.used.Add(k, e)
}

// Warm mints the tokens of all rs that are not at hand, several at once, and waits for them, at most until ctx ends. It returns the
// errors of those that failed, in the order of rs, joined; they do not keep the others from being minted. Requests with Exchange are left
// out: their tokens come with the callers.
func (s *Source) Warm(ctx context.Context, rs []Request) error {
	errs := make([]error, len(rs))
	var group errgroup.Group
	group.SetLimit(maxParallel)
	for i, r := range rs {
		if r.Exchange != nil {
			continue
		}
		group.Go(func() error {
			_, errs[i] = s.Token(ctx, r)
			return nil
		})
	}
	_ = group.Wait() // its functions return nil
	return errors.Join(errs...)
}

// Keep says which requests the running policy names, in place of those of the call before. Their tokens are minted now and kept fresh in
// the background even if nobody asks for them, and are never evicted. The tokens of other requests are refreshed while they are in use: a
// token that nobody asked for since it was minted expires. Of more than Config.Entries requests the surplus is not kept, nor is a
// malformed one; either is logged. Requests with Exchange are left out silently.
func (s *Source) Keep(rs []Request) {
	if refused := s.keep(rs); refused > 0 {
		s.log.Warn("some tokens are not kept fresh", "count", refused, "limit", s.entries)
	}
}

// keep does as Keep says and returns how many of rs are not kept.
func (s *Source) keep(rs []Request) (refused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0
	}
	old := *s.kept.Load()
	next := make(map[key]*entry, min(len(rs), s.entries))
	for _, r := range rs {
		k := r.key()
		switch _, twice := next[k]; {
		case twice, r.Exchange != nil:
		case len(next) == s.entries || r.check() != nil:
			refused++
		default:
			next[k] = s.adopt(k, r)
		}
	}
	s.kept.Store(&next)
	for k, e := range old {
		if next[k] == nil {
			e.keep(false)
			s.hold(k, e)
		}
	}
	for _, e := range next {
		e.keep(true)
	}
	return refused
}

// adopt takes the entry of k out of those in use, or makes it. The caller holds mu.
func (s *Source) adopt(k key, r Request) *entry {
	e := s.find(k)
	if e == nil {
		return s.newAccount(r)
	}
	s.used.Remove(k)
	return e
}

// Drop forgets the token of r, because Google refused it (401), and has a new one minted in the background. Once a minute per request at
// most, so that a caller who provokes refusals does not make the agent mint without end; in between, and for a request that has no token,
// it does nothing.
func (s *Source) Drop(r Request) {
	if r.Exchange != nil {
		s.callers.drop(r)
		return
	}
	if e := s.find(r.key()); e != nil && !r.hasSubject() {
		e.drop(e.mint)
	}
}

// DropFingerprint is Drop of the request whose token at hand has the fingerprint, and reports whether there is one. It looks at the token
// of every account, for the rare case that Google refuses one; those of callers, of which there may be many, it looks up.
func (s *Source) DropFingerprint(fingerprint string) bool {
	all := s.used.Values()
	for _, e := range *s.kept.Load() {
		all = append(all, e)
	}
	for _, e := range all {
		if e.has(fingerprint) {
			e.drop(e.mint)
			return true
		}
	}
	return s.callers.dropFingerprint(fingerprint)
}

// Status describes every request that is kept, has a token or failed to get one, sorted by account and expiry.
func (s *Source) Status() []AccountStatus {
	all := s.used.Values()
	for _, e := range *s.kept.Load() {
		all = append(all, e)
	}
	list := make([]AccountStatus, 0, len(all))
	for _, e := range all {
		if status, ok := e.status(); ok {
			list = append(list, status)
		}
	}
	slices.SortFunc(list, func(a, b AccountStatus) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), a.Expiry.Compare(b.Expiry))
	})
	return list
}

// Exchanges describes the callers' exchanged tokens, which Status leaves out.
func (s *Source) Exchanges() ExchangeStatus { return s.callers.status() }

// Own describes the agent's own token; its Account is empty as long as that is not known.
func (s *Source) Own() AccountStatus {
	status, _ := s.own.status()
	return status
}

// Email returns the e-mail of the agent's own account, empty if the Base does not tell. Like Token it waits for the agent's own token
// where there is none, and fails with an *Error.
func (s *Source) Email(ctx context.Context) (string, error) {
	t, err := s.own.get(ctx)
	return t.Account, err
}

// Close ends all refreshing, cancels what is under way and waits for it. Token returns an error from then on, also where a token was at
// hand. Close may be called more than once.
func (s *Source) Close() {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	for _, e := range *s.kept.Load() {
		e.stop()
	}
	for _, e := range s.used.Values() {
		e.stop()
	}
	s.own.stop()
	s.callers.close()
	if s.unfollow != nil {
		s.unfollow()
	}
	s.kept.Store(&map[key]*entry{})
	s.used.Purge()
	s.mu.Unlock()
	s.tasks.close()
	if !again {
		s.iam.close()
	}
}
