package identity

import (
	"crypto"
	"crypto/sha256"
	"slices"
	"sync"
	"time"
)

// maxVerified bounds the verified tokens that are kept, of a few hundred bytes each.
const maxVerified = 1024

// verified keeps tokens that were found to be good. A source sends the same token with each event for an hour, and checking its
// signature and claims takes as long as all else that a function does for an event in a batch. What may change is asked each
// time: the time, and the keys of the provider. The zero value is empty.
type verified struct {
	mu     sync.Mutex
	tokens map[[sha256.Size]byte]verifiedToken
}

// verifiedToken is what is kept of a token.
type verifiedToken struct {
	principal        Principal
	valid            validity
	keyID, algorithm string
	keys             []crypto.PublicKey // those that could have signed it then
}

// find returns what is kept of a token.
func (v *verified) find(raw string) (verifiedToken, bool) {
	digest := sha256.Sum256([]byte(raw))
	v.mu.Lock()
	defer v.mu.Unlock()
	token, found := v.tokens[digest]
	return token, found
}

// keep keeps a token. It forgets all others when they are too many: to fill it takes as many good tokens.
func (v *verified) keep(raw string, token verifiedToken) {
	digest := sha256.Sum256([]byte(raw))
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.tokens == nil || len(v.tokens) >= maxVerified {
		v.tokens = map[[sha256.Size]byte]verifiedToken{}
	}
	v.tokens[digest] = token
}

// equal returns whether two lists have the same keys, in the same order.
func equal(keys, others []crypto.PublicKey) bool {
	return slices.EqualFunc(keys, others, func(key, other crypto.PublicKey) bool {
		publicKey, ok := key.(interface {
			Equal(other crypto.PublicKey) bool
		})
		return ok && publicKey.Equal(other)
	})
}

// validity is when a token is valid. notBefore is zero for a token that does not say it.
type validity struct{ notBefore, expiry time.Time }

// check returns the problem of a token that is not valid now, give or take the skew.
func (v validity) check(now time.Time) error {
	if !now.Before(v.expiry.Add(skew)) {
		return refused("the token has expired: log in again")
	}
	if now.Add(skew).Before(v.notBefore) {
		return refused("the token is not valid yet: compare the clocks of this server and of the identity provider")
	}
	return nil
}
