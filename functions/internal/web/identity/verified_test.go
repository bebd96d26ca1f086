package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/identitytest"
)

func TestOnlyGoodTokensAreKept(t *testing.T) {
	p := identitytest.Start(t)
	v, c := verifier(t, p.Config())
	good, old := p.Customer("alice"), p.Sign(p.Claims("alice", map[string]any{"exp": c.now().Add(-time.Hour).Unix()}), nil)
	forged := good[:len(good)-8] + "AAAAAAAA"
	first, err := v.Verify(t.Context(), good)
	require.NoError(t, err)
	again, err := v.Verify(t.Context(), good)
	require.NoError(t, err)
	assert.Equal(t, first, again)
	for _, token := range []string{forged, old} {
		_, err := v.Verify(t.Context(), token)
		assert.Equal(t, 401, status(t, err))
		_, kept := v.verified.find(token)
		assert.False(t, kept)
	}
	_, kept := v.verified.find(good)
	assert.True(t, kept)
}

func TestAKeptTokenExpires(t *testing.T) {
	p := identitytest.Start(t)
	v, c := verifier(t, p.Config())
	token := p.Sign(p.Claims("alice", map[string]any{"exp": c.now().Add(time.Minute).Unix()}), nil)
	_, err := v.Verify(t.Context(), token)
	require.NoError(t, err)
	c.advance(time.Minute + skew - 2*time.Second)
	_, err = v.Verify(t.Context(), token)
	require.NoError(t, err)
	c.advance(3 * time.Second)
	got, err := v.Verify(t.Context(), token)
	assert.ErrorContains(t, err, "expired")
	assert.Zero(t, got)
}

// TestAKeptTokenIsRefusedOnceAnotherKeyHasItsName: a name of a key may come back with another key.
func TestAKeptTokenIsRefusedOnceAnotherKeyHasItsName(t *testing.T) {
	p := identitytest.Start(t)
	v, _ := verifier(t, p.Config())
	token := p.Customer("alice")
	_, err := v.Verify(t.Context(), token)
	require.NoError(t, err)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	v.keys.current[0].Key = other.Public()
	_, err = v.Verify(t.Context(), token)
	assert.Equal(t, 401, status(t, err))
}

func TestOnlySoManyTokensAreKept(t *testing.T) {
	var v verified
	for n := range 3*maxVerified + 1 {
		v.keep(strconv.Itoa(n), verifiedToken{})
		require.LessOrEqual(t, len(v.tokens), maxVerified)
	}
	_, kept := v.find(strconv.Itoa(3 * maxVerified))
	assert.True(t, kept)
}
