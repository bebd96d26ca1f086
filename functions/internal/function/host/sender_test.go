package host_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/host"
	"example.com/orders/functions/internal/messaging/delivery"
)

const token = "the-token-of-the-sources"

// sendTo sends an event to a function that func's runtime serves, with a token or none.
func sendTo(t *testing.T, served *host.Function, token string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(data))
	for name, value := range binary {
		r.Header.Set(name, value)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	served.Handle(w, r)
	return w
}

func TestAFunctionTakesNoEventsBeforeItKnowsFromWhom(t *testing.T) {
	f := &reacting{}
	served, err := host.New(f)
	require.NoError(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, sendTo(t, served, token).Code)
	require.NoError(t, served.Start(t.Context(), map[string]string{"SINK_TOKEN": token}))
	assert.Empty(t, f.got)
	assert.Equal(t, http.StatusOK, sendTo(t, served, token).Code)
	assert.Len(t, f.got, 1)
}

// TestARefusedSenderIsToTryAgain checks that an event without a token is not handled, and that a KafkaSource would retry it.
func TestARefusedSenderIsToTryAgain(t *testing.T) {
	f := &calling{call: func(context.Context, event.Event) error { t.Error("it is handled"); return nil }}
	served, err := host.New(f)
	require.NoError(t, err)
	require.NoError(t, served.Start(t.Context(), map[string]string{"SINK_TOKEN": token}))
	for range 3 {
		answer := sendTo(t, served, "")
		assert.Equal(t, delivery.Retry, delivery.Judge(answer.Code))
		assert.Equal(t, "Bearer", answer.Header().Get("WWW-Authenticate"))
		assert.NotEmpty(t, answer.Header().Get("Retry-After"))
		assert.Contains(t, answer.Body.String(), "Authorization: Bearer")
	}
	assert.Equal(t, 1, strings.Count(f.log.String(), "sender refused"), "whoever sends them must not fill the log")
}

func TestAFunctionWithoutAValidConfigurationOfItsSendersDoesNotStart(t *testing.T) {
	m := &managed{}
	served, err := host.New(m)
	require.NoError(t, err)
	require.ErrorContains(t, served.Start(t.Context(), map[string]string{"SINK_TOKEN": "short"}), "SINK_TOKEN")
	assert.Empty(t, m.calls)
	assert.Equal(t, http.StatusServiceUnavailable, sendTo(t, served, "short").Code)
	assert.Empty(t, m.got)
}

// replying is a function that customers call with an event.
type replying struct{}

func (replying) Handle(_ context.Context, e event.Event) (*event.Event, error) { return &e, nil }

func TestAFunctionThatRepliesIsNotForSources(t *testing.T) {
	served, err := host.New(replying{})
	require.NoError(t, err)
	require.NoError(t, served.Start(t.Context(), map[string]string{"SINK_ISSUER": "https://issuer.example.com"}), "which is for others")
	assert.Equal(t, http.StatusOK, sendTo(t, served, "").Code)
}

func TestProbesNeedNoToken(t *testing.T) {
	served, err := host.New(&reacting{})
	require.NoError(t, err)
	require.NoError(t, served.Start(t.Context(), map[string]string{"SINK_TOKEN": token}))
	ready, err := served.Ready(t.Context())
	require.NoError(t, err)
	assert.True(t, ready)
	alive, err := served.Alive(t.Context())
	require.NoError(t, err)
	assert.True(t, alive)
}
