package identity

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/functions/internal/web/secret"
)

// Sources are who may send events to a function: the sources in whose name a cluster issues tokens, whoever has a shared token,
// and operators once they log in. The zero value, and that of a configuration without any of them, lets everybody send.
type Sources struct {
	verifier  *Verifier // of the cluster's tokens; not enabled without SINK_ISSUER
	subjects  []string
	shared    *Token    // nil without SINK_TOKEN
	operators *Verifier // not enabled without OIDC_ISSUER
}

// NewSources returns who may send events by a configuration; it does not contact the issuer. With OIDC_ISSUER operators may,
// with an access token as New accepts it.
//
//	SINK_ISSUER    issuer of the senders' tokens, the one of a cluster's service accounts; an https URL
//	SINK_AUDIENCE  audience of the tokens: the sink.audience of the sources
//	SINK_SUBJECTS  subjects to accept, exactly, with commas between; alone it has no effect
//	SINK_JWKS_URL  URL of the issuer's keys; by default its discovery document says it
//	SINK_CA_FILE   certificates in PEM that sign the issuer's certificate, instead of the system's
//	SINK_TOKEN     token that is accepted as well, or alone; or SINK_TOKEN_FILE
func NewSources(config map[string]string) (*Sources, error) {
	shared, err := NewToken(config, "SINK_TOKEN")
	if err != nil {
		return nil, err
	}
	operators, err := New(config)
	if err != nil {
		return nil, err
	}
	s := &Sources{shared: shared, operators: operators, subjects: strings.FieldsFunc(config["SINK_SUBJECTS"], func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })}
	issuer := config["SINK_ISSUER"]
	if issuer == "" {
		for _, name := range []string{"SINK_AUDIENCE", "SINK_JWKS_URL", "SINK_CA_FILE"} {
			if config[name] != "" {
				return nil, fmt.Errorf("%s is set without SINK_ISSUER: set that too, or unset it, since no token of an issuer is checked now", name)
			}
		}
		return s, nil
	}
	if config["SINK_AUDIENCE"] == "" || len(s.subjects) == 0 {
		return nil, errors.New("SINK_ISSUER is set: set SINK_AUDIENCE and SINK_SUBJECTS too, or every token of the issuer would do")
	}
	for name, value := range map[string]string{"SINK_ISSUER": issuer, "SINK_JWKS_URL": config["SINK_JWKS_URL"]} {
		if value == "" {
			continue
		}
		if err := checkURL(value); err != nil {
			return nil, fmt.Errorf("%s is %q: %w", name, value, err)
		}
	}
	trusting, err := client("SINK_CA_FILE", config["SINK_CA_FILE"])
	if err != nil {
		return nil, err
	}
	s.verifier = &Verifier{issuer: issuer, audience: config["SINK_AUDIENCE"], algorithms: defaultAlgorithms, now: time.Now}
	s.verifier.keys = &keys{issuer: issuer, url: config["SINK_JWKS_URL"], client: trusting, now: func() time.Time { return s.verifier.now() }}
	return s, nil
}

// Enabled returns whether anything is asked of a sender.
func (s *Sources) Enabled() bool {
	return s != nil && (s.shared != nil || s.verifier.Enabled() || s.operators.Enabled())
}

// Check returns nil if the sender of a request may send events. The error is a *rest.Problem, always with status 503: a
// KafkaSource retries that, and sets an event aside at once for a 401 or 403. So events whose source has not its token yet, or
// an old one, are handled late and are not lost, and a forger learns nothing more.
func (s *Sources) Check(r *http.Request) error {
	if !s.Enabled() {
		return nil
	}
	token, err := bearer(r)
	if err != nil {
		return refusedSender("it is not sent with one token, as Authorization: Bearer TOKEN")
	}
	if s.shared.is(token) {
		return nil
	}
	err = refusedSender("its token is not SINK_TOKEN")
	if s.verifier.Enabled() {
		if err = s.checkAccount(r, token); err == nil {
			return nil
		}
	}
	if s.operators.Enabled() {
		if p, failed := s.operators.Verify(r.Context(), token); failed == nil && p.Operator {
			return nil
		}
	}
	return err
}

// checkAccount returns nil for the token of a service account that may send events.
func (s *Sources) checkAccount(r *http.Request, token string) error {
	sender, err := s.verifier.Verify(r.Context(), token)
	problem, _ := errors.AsType[*rest.Problem](err) // Verify returns no other errors
	switch {
	case err != nil && problem.Status == http.StatusServiceUnavailable:
		return problem
	case err != nil:
		return refusedSender("its token is refused: " + problem.Detail)
	case !slices.Contains(s.subjects, sender.Subject):
		return refusedSender(fmt.Sprintf("its token is that of %q, which SINK_SUBJECTS does not have", sender.Subject))
	}
	return nil
}

func refusedSender(why string) *rest.Problem {
	return rest.Unavailable("the event was not handled, since its sender is not known here: " + why)
}

// Token is a secret that a caller sends as a bearer token. Its file is read again while the process runs.
type Token struct {
	config map[string]string
	name   string
	now    func() time.Time

	mu    sync.Mutex
	value string
	read  time.Time
}

const (
	// rereadAfter is how long a replaced file goes unnoticed.
	rereadAfter = 5 * time.Second
	// leastToken is the length of the shortest token, in bytes: whoever reaches a function may try tokens.
	leastToken = 16
)

// NewToken returns the first of the secrets that is set, see secret.Read, and nil if none is.
func NewToken(config map[string]string, names ...string) (*Token, error) {
	for _, name := range names {
		if !secret.Given(config, name) {
			continue
		}
		t := &Token{config: config, name: name, now: time.Now}
		var err error
		if t.value, err = t.load(); err != nil {
			return nil, err
		}
		t.read = t.now()
		return t, nil
	}
	return nil, nil //nolint:nilnil // the methods of the nil token are those of no token
}

func (t *Token) load() (string, error) {
	value, err := secret.Read(t.config, t.name)
	if err != nil {
		return "", err
	}
	if len(value) < leastToken || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s is no token: give %d or more visible ASCII characters without blanks, such as openssl rand -hex 32 prints", t.name, leastToken)
	}
	return value, nil
}

// current returns the token, "" of the nil token. A file that cannot be read any more leaves the last one.
func (t *Token) current() string {
	if t == nil {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := t.now(); now.Sub(t.read) >= rereadAfter {
		t.read = now
		if value, err := t.load(); err == nil {
			t.value = value
		}
	}
	return t.value
}

// is returns whether a caller has sent the token, in a time that does not depend on how much of it is right.
func (t *Token) is(sent string) bool {
	return t != nil && subtle.ConstantTimeCompare([]byte(t.current()), []byte(sent)) == 1
}

// Authorize adds the token to a request; the nil token adds nothing.
func (t *Token) Authorize(r *http.Request) {
	if t != nil {
		r.Header.Set("Authorization", "Bearer "+t.current())
	}
}
