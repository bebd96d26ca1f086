package main

import (
	"crypto/rand"
	"maps"

	"example.com/orders/functions/internal/function/host"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/secret"
)

// sinkToken is the secret with which events are sent to functions over HTTP.
const sinkToken = "SINK_TOKEN"

// ownToken returns the variables of the token with which this process sends events over HTTP: those of the configuration, or of
// a new token that nobody else knows.
func ownToken(config map[string]string) map[string]string {
	if !secret.Given(config, sinkToken) {
		return map[string]string{sinkToken: rand.Text()}
	}
	own := map[string]string{}
	for _, name := range []string{sinkToken, sinkToken + secret.FileSuffix} {
		if value := config[name]; value != "" {
			own[name] = value
		}
	}
	return own
}

// sourcesOf returns who may post events to a function at /functions/NAME: everybody, unless the configuration of the function
// says who; then this process as well, which replays dead letters there.
func (h *harness) sourcesOf(f any, config map[string]string) (*identity.Sources, error) {
	if !host.ForSources(f) {
		return nil, nil //nolint:nilnil // customers call it, and it knows itself what each may do
	}
	sources, err := identity.NewSources(config)
	if err != nil || !sources.Enabled() {
		return sources, err
	}
	config = maps.Clone(config)
	maps.Copy(config, h.own)
	return identity.NewSources(config)
}

// functionsToken returns the token that a command sends to functions; it is nil if none is set. An operator's own is the last,
// since the functions of a harness take that too.
func functionsToken(config map[string]string) (*identity.Token, error) {
	return identity.NewToken(config, "FUNCTIONS_TOKEN", sinkToken, harnessToken)
}
