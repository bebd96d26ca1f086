package identitytest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Client and ClientSecret are the client that may have users log in.
const (
	Client       = "orders-console"
	ClientSecret = "of the console: +%" // it must be encoded in a header (RFC 6749, 2.3.1)
)

// login is the part of the provider that users log in at.
type login struct {
	user     string // empty refuses
	roles    map[string][]string
	life     time.Duration // of access tokens; zero is an hour
	public   bool          // the client has no secret
	edit     func(kind string, claims map[string]any)
	granted  map[string]grant // by code
	refresh  map[string]string
	refreshs int
	ended    []url.Values
}

type grant struct{ user, nonce, challenge, redirect string }

// LogInAs makes the provider log in a user with roles at once; an empty name makes it refuse. Roles count from the next token on.
func (p *Provider) LogInAs(user string, roles ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.login.user = user
	if p.login.roles == nil {
		p.login.roles = map[string][]string{}
	}
	p.login.roles[user] = roles
}

// Lock makes the refresh tokens that were granted so far invalid.
func (p *Provider) Lock() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.login.refresh)
}

// TokenLife sets how long the next access tokens are valid.
func (p *Provider) TokenLife(life time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.login.life = life
}

// PublicClient makes the client one without a secret.
func (p *Provider) PublicClient() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.login.public = true
}

// Edit changes the claims of the next tokens, of the kinds id and access.
func (p *Provider) Edit(edit func(kind string, claims map[string]any)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.login.edit = edit
}

// Refreshes returns how many refresh tokens were taken.
func (p *Provider) Refreshes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.login.refreshs
}

// LoggedOut returns the queries of the log-outs.
func (p *Provider) LoggedOut() []url.Values {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.login.ended)
}

func (p *Provider) serveLogin(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/authorize":
		p.authorize(w, r)
	case "/token":
		p.token(w, r)
	case "/logout":
		p.mu.Lock()
		p.login.ended = append(p.login.ended, r.URL.Query())
		p.mu.Unlock()
		http.Redirect(w, r, r.URL.Query().Get("post_logout_redirect_uri"), http.StatusSeeOther) //nolint:gosec // of the test
	default:
		http.NotFound(w, r)
	}
}

func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	answer := url.Values{"state": {q.Get("state")}, "iss": {p.Issuer}}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case q.Get("client_id") != Client || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256":
		answer.Set("error", "invalid_request")
	case p.login.user == "":
		answer.Set("error", "access_denied")
	default:
		code := rand.Text()
		if p.login.granted == nil {
			p.login.granted = map[string]grant{}
		}
		p.login.granted[code] = grant{p.login.user, q.Get("nonce"), q.Get("code_challenge"), q.Get("redirect_uri")}
		answer.Set("code", code)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+answer.Encode(), http.StatusFound) //nolint:gosec // of the test
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	refuse := func(code string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": code}) // it fails only if the client is gone
	}
	id, secret, _ := r.BasicAuth()
	p.mu.Lock()
	known := id == url.QueryEscape(Client) && secret == url.QueryEscape(ClientSecret)
	if p.login.public {
		known = id == "" && r.PostFormValue("client_id") == Client && r.PostFormValue("client_secret") == ""
	}
	p.mu.Unlock()
	if !known {
		refuse("invalid_client")
		return
	}
	var user string
	var g grant
	p.mu.Lock()
	switch r.PostFormValue("grant_type") {
	case "authorization_code":
		g = p.login.granted[r.PostFormValue("code")]
		delete(p.login.granted, r.PostFormValue("code"))
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		if g.challenge == base64.RawURLEncoding.EncodeToString(sum[:]) && g.redirect == r.PostFormValue("redirect_uri") {
			user = g.user
		}
	case "refresh_token":
		user = p.login.refresh[r.PostFormValue("refresh_token")]
		delete(p.login.refresh, r.PostFormValue("refresh_token")) // each is good for once
		p.login.refreshs++
	}
	p.mu.Unlock()
	if user == "" {
		refuse("invalid_grant")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(p.grant(user, g.nonce)) // it fails only if the client is gone
}

// grant returns the answer with tokens for a user, with an ID token if there is a nonce.
func (p *Provider) grant(user, nonce string) map[string]any {
	p.mu.Lock()
	life, edit := p.login.life, p.login.edit
	if life == 0 {
		life = time.Hour
	}
	refresh := rand.Text()
	if p.login.refresh == nil {
		p.login.refresh = map[string]string{}
	}
	p.login.refresh[refresh] = user
	access := p.Claims(user, map[string]any{"roles": p.login.roles[user], "exp": time.Now().Add(life).Unix()})
	p.mu.Unlock()
	id := p.Claims(user, map[string]any{"aud": Client, "nonce": nonce, "preferred_username": user})
	if edit != nil {
		edit("access", access)
		edit("id", id)
	}
	answer := map[string]any{
		"access_token": p.Sign(access, map[string]any{"typ": "at+jwt"}), "token_type": "Bearer",
		"expires_in": int(life.Seconds()), "refresh_token": refresh,
	}
	if nonce != "" {
		answer["id_token"] = p.Sign(id, nil)
	}
	return answer
}
