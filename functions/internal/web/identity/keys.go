package identity

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	// fetchTimeout bounds one request to the provider.
	fetchTimeout = 5 * time.Second
	// refreshAfter is the age at which keys are fetched again, while they serve: a key that the provider has withdrawn is
	// refused from then on.
	refreshAfter = 5 * time.Minute
	// keepFor is how long keys serve while the provider does not answer.
	keepFor = time.Hour
	// unknownKeyInterval is the least time between fetches for keys that are not known: tokens with made-up key ids must not
	// become requests to the provider.
	unknownKeyInterval = 5 * time.Second
	// failureInterval is the least time between fetches that failed.
	failureInterval = time.Second
	// maxKeys bounds the key set, in bytes.
	maxKeys = 1 << 20
)

var (
	// errUnreachable means that the provider's keys are needed and cannot be had.
	errUnreachable = errors.New("the identity provider does not answer")
	errUnknownKey  = errors.New("the token is signed with a key that the identity provider does not have")
)

// keys are the public keys of a provider. They are fetched with the first token, when they grow old and when a token names a
// new key.
type keys struct {
	issuer string
	url    string // of the keys; empty if the provider's discovery document says it
	client *http.Client
	now    func() time.Time

	mu       sync.Mutex
	current  []jose.JSONWebKey
	fetched  time.Time     // when current came; zero before
	tried    time.Time     // when the last fetch began
	failure  error         // of the last fetch
	fetching chan struct{} // closed at the end of the fetch under way; nil without one
}

// find returns the keys that may have signed a token with a key id and an algorithm; id is empty if the token names no key.
// The error is errUnknownKey, or wraps errUnreachable.
func (k *keys) find(ctx context.Context, id, algorithm string) ([]crypto.PublicKey, error) {
	for waited := false; ; waited = true {
		k.mu.Lock()
		now := k.now()
		age := now.Sub(k.fetched)
		usable := !k.fetched.IsZero() && age < keepFor
		var found []crypto.PublicKey
		if usable {
			found = matching(k.current, id, algorithm)
		}
		interval := failureInterval
		if k.failure == nil {
			interval = unknownKeyInterval
		}
		due := k.tried.IsZero() || now.Sub(k.tried) >= interval
		// Nothing to wait for if the keys only grow old.
		if k.fetching == nil && due && !waited && (len(found) == 0 || age >= refreshAfter) {
			k.tried = now
			k.fetching = make(chan struct{})
			go k.fetch(context.WithoutCancel(ctx), k.fetching) // others wait for it too
		}
		fetching, failure := k.fetching, k.failure
		k.mu.Unlock()

		switch {
		case len(found) > 0:
			return found, nil
		case fetching != nil && !waited:
			select {
			case <-fetching:
			case <-ctx.Done():
				return nil, fmt.Errorf("%w: %w", errUnreachable, ctx.Err())
			}
		case failure != nil:
			return nil, fmt.Errorf("%w: %w", errUnreachable, failure)
		case !usable:
			return nil, errUnreachable
		default:
			return nil, errUnknownKey
		}
	}
}

func matching(all []jose.JSONWebKey, id, algorithm string) []crypto.PublicKey {
	var found []crypto.PublicKey
	for _, key := range all {
		if (id == "" || key.KeyID == id) && (key.Algorithm == "" || key.Algorithm == algorithm) {
			found = append(found, key.Key)
		}
	}
	return found
}

// fetch replaces the keys by those that the provider has now, and closes done.
func (k *keys) fetch(ctx context.Context, done chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, 2*fetchTimeout)
	defer cancel()
	current, err := k.load(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failure = err
	if err == nil {
		k.current, k.fetched = current, k.now()
	}
	k.fetching = nil
	close(done)
}

// place returns the URL of the provider's keys.
func (k *keys) place(ctx context.Context) (string, error) {
	if k.url != "" {
		return k.url, nil
	}
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, k.client), k.issuer) // checks that the document names the issuer
	if err != nil {
		return "", err
	}
	var document struct {
		Keys string `json:"jwks_uri"`
	}
	if err := provider.Claims(&document); err != nil {
		return "", fmt.Errorf("read the discovery document: %w", err)
	}
	if err := checkURL(document.Keys); err != nil {
		return "", fmt.Errorf("the discovery document has the jwks_uri %q: %w", document.Keys, err)
	}
	return document.Keys, nil
}

// load reads the provider's keys.
func (k *keys) load(ctx context.Context) ([]jose.JSONWebKey, error) {
	place, err := k.place(ctx)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return nil, err
	}
	response, err := k.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("get the keys: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // it was read
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get the keys: %s", response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxKeys))
	if err != nil {
		return nil, fmt.Errorf("read the keys: %w", err)
	}
	return parseKeys(text)
}

// parseKeys returns the keys for signatures of a key set. It leaves out what it does not understand, as RFC 7517, 5 asks:
// providers list keys of newer kinds too.
func parseKeys(text []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("read the keys: %w", err)
	}
	var usable []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil && key.IsPublic() && (key.Use == "" || key.Use == "sig") {
			usable = append(usable, key)
		}
	}
	if len(usable) == 0 {
		return nil, fmt.Errorf("none of the provider's %d keys is a public key for signatures", len(set.Keys))
	}
	return usable, nil
}
