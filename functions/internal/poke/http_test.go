package poke

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPokesTravelOverHTTPInBinaryMode(t *testing.T) {
	got := make(chan *event.Event, 1)
	status := http.StatusOK
	relay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e, err := cehttp.NewEventFromHTTPRequest(r)
		if err == nil {
			got <- e
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(relay.Close)
	deliver, err := leaving(relay.URL, time.Minute) // however slow the machine is
	require.NoError(t, err)
	e := event.New()
	e.SetID("1")
	e.SetSource("/s")
	e.SetType(Type)
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = []byte(`{"shards":[2]}`)

	require.NoError(t, deliver(t.Context(), e))
	assert.Equal(t, e, *<-got)

	status = http.StatusServiceUnavailable
	assert.ErrorContains(t, deliver(t.Context(), e), "503")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, deliver(ended, e), context.Canceled)
}
