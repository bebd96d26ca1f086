package session_test

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/session"
)

func TestConfigurationOfTheLogIn(t *testing.T) {
	for name, c := range map[string]struct {
		config  map[string]string
		listens string // http://127.0.0.1:8080 if empty
		host    string
		err     string
	}{
		"none":                      {config: map[string]string{"OIDC_CLIENT_ID": ""}},
		"on a laptop":               {host: "127.0.0.1"},
		"with a public URL":         {config: map[string]string{"PUBLIC_URL": "https://orders.example.com/"}, listens: "http://10.0.0.1:8080", host: "orders.example.com"},
		"http on this machine":      {config: map[string]string{"PUBLIC_URL": "http://localhost:8080"}, host: "localhost"},
		"on a network":              {listens: "http://10.0.0.1:8080", err: "set PUBLIC_URL to the https URL"},
		"http elsewhere":            {config: map[string]string{"PUBLIC_URL": "http://orders.example.com"}, err: "give an https URL"},
		"a URL with a path":         {config: map[string]string{"PUBLIC_URL": "https://example.com/orders"}, err: "give a URL without a path"},
		"no URL":                    {config: map[string]string{"PUBLIC_URL": "orders.example.com"}, err: "give a URL without a path"},
		"a secret without a client": {config: map[string]string{"OIDC_CLIENT_ID": "", "OIDC_CLIENT_SECRET": "s"}, err: "OIDC_CLIENT_SECRET is set without OIDC_CLIENT_ID"},
		"two secrets":               {config: map[string]string{"OIDC_CLIENT_SECRET": "s", "OIDC_CLIENT_SECRET_FILE": "f"}, err: "both set"},
		"no issuer":                 {config: map[string]string{"OIDC_ISSUER": "", "OIDC_AUDIENCE": ""}, err: "OIDC_CLIENT_ID is set without OIDC_ISSUER"},
		"a client as audience":      {config: map[string]string{"OIDC_AUDIENCE": "orders-console"}, err: "an ID token"},
		"a life that is none":       {config: map[string]string{"SESSION_LIFE": "a day"}, err: `SESSION_LIFE is "a day": give a duration`},
		"an endless idle life":      {config: map[string]string{"SESSION_IDLE": "10000h"}, err: "at most a week"},
	} {
		t.Run(name, func(t *testing.T) {
			config := map[string]string{"OIDC_ISSUER": "https://issuer.example", "OIDC_AUDIENCE": "orders", "OIDC_CLIENT_ID": "orders-console"}
			maps.Copy(config, c.config)
			verifier, err := identity.New(config)
			require.NoError(t, err)
			listens := "http://127.0.0.1:8080"
			if c.listens != "" {
				listens = c.listens
			}
			sessions, err := session.New(session.Options{Config: config, Verifier: verifier, URL: listens})
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.host, sessions.Host())
		})
	}
}
