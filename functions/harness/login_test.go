package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestKeycloakIsOfOneVersionWithOneRealm(t *testing.T) {
	found := regexp.MustCompile(`KEYCLOAK_VERSION:-([0-9.]+)`).FindStringSubmatch(readFile(t, ".ci/services/keycloak"))
	require.NotNil(t, found)
	keycloak := composed(t, nil).Services["keycloak"]
	assert.Equal(t, "quay.io/keycloak/keycloak:"+found[1], keycloak.Image)
	assert.Contains(t, keycloak.Volumes, "./functions/harness/auth/realm.json:/opt/keycloak/data/import/realm.json:ro")
	assert.Contains(t, keycloak.Volumes, "keycloak-"+found[1]+":/opt/keycloak/lib/quarkus")
	assert.Contains(t, readFile(t, ".ci/services/keycloak"), "functions/harness/auth/realm.json")
}

// TestTheRealmIsWhatTheDocumentsSay compares the names and the secret of the realm with those in the README and .env.example.
func TestTheRealmIsWhatTheDocumentsSay(t *testing.T) {
	var realm struct {
		Realm   string
		Users   []struct{ Username, Email string }
		Clients []struct {
			ClientID, Secret string
			RedirectURIs     []string `json:"redirectUris"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(readFile(t, "functions/harness/auth/realm.json")), &realm))
	documents := readFile(t, "README.md") + readFile(t, ".env.example")
	said := []string{"/realms/" + realm.Realm}
	for _, user := range realm.Users {
		said = append(said, "`"+user.Username+"`")
	}
	for _, client := range realm.Clients {
		said = append(said, client.ClientID, client.Secret)
		for _, uri := range client.RedirectURIs {
			assert.True(t, strings.HasSuffix(uri, "/login/callback"), uri)
		}
	}
	for _, text := range said {
		assert.Contains(t, documents, text)
	}
}

func TestALogInOnANetworkNeedsThePublicURL(t *testing.T) {
	t.Parallel()
	p := launch(t, []string{"OIDC_ISSUER=https://login.example.com", "OIDC_AUDIENCE=orders", "OIDC_CLIENT_ID=console"},
		"up", "--addr", "0.0.0.0:0", "--data", t.TempDir())
	<-p.ended
	require.Error(t, p.err)
	assert.Contains(t, p.log.String(), "set PUBLIC_URL to the https URL")
}
