package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"sync"
	"time"

	"example.com/orders/functions/internal/web/identity"
)

// Bounds of the sessions in memory. One more ends the one that was not used for the longest time: of the same user, or of all.
const (
	maxSessions  = 1000
	maxOfSubject = 20
)

// held is a user's session.
type held struct {
	key     [sha256.Size]byte
	idToken string // for the log-out at the provider
	name    string // for people
	begin   time.Time
	ended   chan struct{} // closed at the end

	refreshing sync.Mutex // taken before mu, for a call of the provider

	mu        sync.Mutex
	closed    bool
	used      time.Time // last request that was not a stream
	principal identity.Principal
	refresh   string    // token; empty if the provider gives none
	expires   time.Time // the access token; then the principal is asked for again
	retry     time.Time // not before, since the provider did not answer
}

// tokens are what the provider grants.
type tokens struct {
	principal identity.Principal
	name      string
	id        string
	refresh   string
	expires   time.Time // the access token
}

// store has the sessions by the hash of their secret, so that neither a look-up's time nor a memory dump tells one.
type store struct {
	idle, life time.Duration

	mu  sync.Mutex
	all map[[sha256.Size]byte]*held
}

// newSecret returns 256 random bits as text for a cookie or a URL.
func newSecret() string {
	var random [32]byte
	_, _ = rand.Read(random[:]) // it never fails
	return base64.RawURLEncoding.EncodeToString(random[:])
}

// start adds a session and returns it with its secret.
func (s *store) start(t tokens) (string, *held) {
	secret, now := newSecret(), time.Now()
	one := &held{
		key: sha256.Sum256([]byte(secret)), idToken: t.id, name: t.name, begin: now, ended: make(chan struct{}),
		used: now, principal: t.principal, refresh: t.refresh, expires: t.expires,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var others, own []*held
	for _, other := range s.all {
		if !now.Before(s.deadline(other)) {
			s.drop(other)
			continue
		}
		others = append(others, other)
		if p := other.who(); p.Issuer == t.principal.Issuer && p.Subject == t.principal.Subject {
			own = append(own, other)
		}
	}
	if len(own) >= maxOfSubject {
		s.drop(leastUsed(own))
	} else if len(others) >= maxSessions {
		s.drop(leastUsed(others))
	}
	s.all[one.key] = one
	return secret, one
}

func leastUsed(sessions []*held) *held {
	return slices.MinFunc(sessions, func(a, b *held) int { return a.lastUsed().Compare(b.lastUsed()) })
}

// find returns the session of a secret, or nil if it has ended or does not exist. A request that uses it puts off its end.
func (s *store) find(secret string, uses bool) *held {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.all[sha256.Sum256([]byte(secret))]
	if one == nil {
		return nil
	}
	now := time.Now()
	if !now.Before(s.deadline(one)) {
		s.drop(one)
		return nil
	}
	if uses {
		one.mu.Lock()
		one.used = now
		one.mu.Unlock()
	}
	return one
}

// deadline returns when a session ends if it is not used.
func (s *store) deadline(one *held) time.Time {
	idle, life := one.lastUsed().Add(s.idle), one.begin.Add(s.life)
	if idle.Before(life) {
		return idle
	}
	return life
}

// end ends a session. It may have ended.
func (s *store) end(one *held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(one)
}

// drop is end for a caller that holds mu.
func (s *store) drop(one *held) {
	delete(s.all, one.key)
	one.mu.Lock()
	defer one.mu.Unlock()
	if !one.closed {
		one.closed = true
		close(one.ended)
	}
}

func (o *held) lastUsed() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.used
}

func (o *held) who() identity.Principal {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.principal
}

func (o *held) expiry() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.expires
}
