package main

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWritesFromAnotherSiteAreRefused(t *testing.T) {
	t.Parallel()
	p := newStack(t).up(t)
	o := p.place(t, "SKU-123", 1)
	from := map[string]http.Header{
		"another site":             {"Sec-Fetch-Site": {"cross-site"}},
		"another host beside":      {"Sec-Fetch-Site": {"same-site"}},
		"another origin":           {"Origin": {"https://shop.example"}},
		"an origin that is no one": {"Origin": {"null"}},
	}
	for name, header := range from {
		for _, path := range []string{"/api/orders", "/api/orders/" + o.OrderID + "/cancel", "/functions/create-order", "/console/deadletters", "/console/deadletters/correct", "/console/deadletters/jobs/1/stop", "/console/outbox"} {
			assert.Equal(t, http.StatusForbidden, p.do(t, http.MethodPost, path, header, "{}", nil), "%s from %s", path, name)
		}
		assert.Equal(t, http.StatusOK, p.do(t, http.MethodGet, "/api/orders/"+o.OrderID, header, "", nil), "reading changes nothing")
	}
	for name, header := range map[string]http.Header{
		"no browser":   {},
		"our own page": {"Sec-Fetch-Site": {"same-origin"}, "Origin": {p.url}},
		"an old one":   {"Origin": {p.url}},
	} {
		assert.Equal(t, http.StatusOK, p.do(t, http.MethodPost, "/api/orders/"+o.OrderID+"/cancel", header, "", nil), name)
	}
}

// TestAnOpenPageDoesNotDelayTheShutdown stops a harness while a page is open.
func TestAnOpenPageDoesNotDelayTheShutdown(t *testing.T) {
	t.Parallel()
	p := newStack(t).up(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/console/events?view=flow&view=orders&view=deadletters:state=open", nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { assert.NoError(t, response.Body.Close()) }()
	first := make([]byte, 1)
	_, err = io.ReadFull(response.Body, first)
	require.NoError(t, err)

	p.stop(t)

	assert.NotContains(t, p.log.String(), "connections cut", "the page knows that the harness stops")

	_, err = io.Copy(io.Discard, response.Body)
	assert.NoError(t, err, "the stream ends as one that is over")
}
