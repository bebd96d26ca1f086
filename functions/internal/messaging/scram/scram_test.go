package scram

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSCRAMFollowsTheStandard uses the exchange of RFC 7677, 3.
func TestSCRAMFollowsTheStandard(t *testing.T) {
	s := &Client{Mechanism: "SCRAM-SHA-256", nonce: "rOprNGfwEbeRWgbNEkqO"}
	require.NoError(t, s.Begin("user", "pencil", ""))
	first, err := s.Step("")
	require.NoError(t, err)
	assert.Equal(t, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO", first)
	const challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	proof, err := s.Step(challenge)
	require.NoError(t, err)
	assert.Equal(t, "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", proof)
	_, err = s.Step("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
	require.NoError(t, err)
	assert.True(t, s.Done())
}

func TestSCRAMTrustsNoServerThatDoesNotKnowThePassword(t *testing.T) {
	for name, each := range map[string]struct{ first, final, says string }{
		"another signature":  {"r=abcdef,s=c2FsdA==,i=4096", "v=AAAA", "did not prove that it knows"},
		"refused":            {"r=abcdef,s=c2FsdA==,i=4096", "e=invalid-proof", "invalid-proof"},
		"too few iterations": {"r=abcdef,s=c2FsdA==,i=1", "", "iterations"},
		"another nonce":      {"r=xyz,s=c2FsdA==,i=4096", "", "nonce"},
		"the same nonce":     {"r=abc,s=c2FsdA==,i=4096", "", "nonce"},
		"no salt":            {"r=abcdef,i=4096", "", "salt"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Client{Mechanism: "SCRAM-SHA-512", nonce: "abc"}
			require.NoError(t, s.Begin("u", "p", ""))
			_, err := s.Step("")
			require.NoError(t, err)
			_, err = s.Step(each.first)
			if err == nil {
				_, err = s.Step(each.final)
			}
			assert.ErrorContains(t, err, each.says)
			assert.False(t, s.Done())
		})
	}
}
