package host_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/host"
	"example.com/orders/functions/internal/testkit/functiontest"
)

func TestNonEventsReachNoFunction(t *testing.T) {
	with := func(more ...string) map[string]string {
		headers := map[string]string{}
		for name, value := range binary {
			headers[name] = value
		}
		for i := 0; i < len(more); i += 2 {
			headers[more[i]] = more[i+1]
		}
		return headers
	}
	batch, inJSON := map[string]string{"Content-Type": "application/cloudevents-batch+json"}, map[string]string{"Content-Type": "application/cloudevents+json"}
	for name, c := range map[string]struct {
		headers map[string]string
		body    string
		status  int
		says    string
	}{
		"plain JSON":              {map[string]string{"Content-Type": "application/json"}, data, http.StatusUnsupportedMediaType, "send a CloudEvent"},
		"a batch":                 {batch, "[" + structured + "]", http.StatusUnsupportedMediaType, "batches"},
		"a batch beside headers":  {with("Content-Type", batch["Content-Type"]), "[]", http.StatusUnsupportedMediaType, "batches"},
		"without a type":          {with("Ce-Type", ""), data, http.StatusBadRequest, "type"},
		"a header without a name": {with("Ce-", "x"), data, http.StatusBadRequest, "names no attribute"},
		"broken JSON":             {inJSON, structured[:20], http.StatusBadRequest, "not JSON"},
		"base64 that is a digit":  {inJSON, `{"specversion":"1.0","data_base64":1}`, http.StatusBadRequest, "data_base64"},
		"a digit before all else": {inJSON, `{"data_base64":1,"specversion":"1.0"}`, http.StatusBadRequest, "data_base64"},
		"too large":               {binary, strings.Repeat(" ", 2<<20+1), http.StatusRequestEntityTooLarge, "2097152 bytes"},
		"compressed":              {with("Content-Encoding", "gzip"), data, http.StatusUnsupportedMediaType, "Content-Encoding"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &reacting{}
			answer := post(t, f, c.headers, c.body)
			assert.Equal(t, c.status, answer.Code)
			assert.Contains(t, answer.Body.String(), c.says)
			assert.Empty(t, f.got)
			post(t, f, binary, data)
			assert.Len(t, f.got, 1, "the function keeps working")
		})
	}
}

// TestARecordOfKafkaFits checks that the largest record is accepted, both as a KafkaSource posts it and in structured mode:
// Kafka takes 1,048,588 bytes per record including headers.
func TestARecordOfKafkaFits(t *testing.T) {
	const largest = 1_048_588
	text := `"` + strings.Repeat("x", largest-2) + `"`
	f := &reacting{}
	assert.Equal(t, http.StatusOK, post(t, f, binary, text).Code)
	assert.Equal(t, http.StatusOK, post(t, f, map[string]string{"Content-Type": "application/cloudevents+json"},
		`{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"`+strings.Repeat("eHh4", largest/3)+`"}`).Code)
	require.Len(t, f.got, 2)
	assert.Len(t, f.got[0].Data(), largest)
	assert.Len(t, f.got[1].Data(), largest/3*3)
}

// slow is a body that does not arrive in time.
type slow struct{}

func (slow) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

func TestAnEventThatComesTooSlowlyIsDeliveredAgain(t *testing.T) {
	handler, err := host.Handler(&reacting{})
	require.NoError(t, err)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", slow{})
	for name, value := range binary {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Contains(t, w.Body.String(), "did not arrive within 10s")
}

// blanks is a body of left bytes that counts how many are read.
type blanks struct{ left, read int }

func (b *blanks) Read(p []byte) (n int, err error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	for n < len(p) && b.left > 0 {
		p[n] = ' '
		n, b.left, b.read = n+1, b.left-1, b.read+1
	}
	return n, nil
}

func TestOfALargeBodyNoMoreIsReadThanIsTaken(t *testing.T) {
	handler, err := host.Handler(&reacting{})
	require.NoError(t, err)
	for name, c := range map[string]struct{ length, most int }{"of known length": {300 << 20, 0}, "in chunks": {-1, 2<<20 + 1}} {
		bodies := make([]*blanks, 4)
		functiontest.Concurrently(len(bodies), func(i int) {
			bodies[i] = &blanks{left: 300 << 20}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bodies[i])
			for header, value := range binary {
				r.Header.Set(header, value)
			}
			r.ContentLength = int64(c.length)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			assert.Equal(t, http.StatusRequestEntityTooLarge, w.Code, name)
			assert.LessOrEqual(t, bodies[i].read, c.most, name)
		})
	}
}

// calling is a function whose behaviour the test sets.
type calling struct {
	call func(ctx context.Context, e event.Event) error
	log  functiontest.Log
}

func (c *calling) Handle(ctx context.Context, e event.Event) error { return c.call(ctx, e) }
func (c *calling) Logger() *slog.Logger                            { return slog.New(slog.NewTextHandler(&c.log, nil)) }

func TestAPanicOfAFunctionIsAFailureAndLogged(t *testing.T) {
	c := &calling{call: func(context.Context, event.Event) error { panic("on purpose") }}
	answer := post(t, c, binary, data)
	assert.Equal(t, http.StatusInternalServerError, answer.Code)
	assert.Contains(t, answer.Body.String(), "on purpose")
	assert.Contains(t, c.log.String(), "event_id=order-1#1")
	assert.Contains(t, c.log.String(), "function_test.go")
}

func TestAnErrorThatIsNoAnswerIsAFailure(t *testing.T) {
	answer := post(t, &calling{call: func(context.Context, event.Event) error { return errors.New("plain") }}, binary, data)
	assert.Equal(t, http.StatusInternalServerError, answer.Code)
	assert.Equal(t, "plain\n", answer.Body.String())
}

func TestTheContextIsThatOfTheRequest(t *testing.T) {
	type key struct{}
	begun, ended := make(chan any), make(chan error)
	handler, err := host.Handler(&calling{call: func(ctx context.Context, _ event.Event) error {
		begun <- ctx.Value(key{})
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}})
	require.NoError(t, err)
	url := functiontest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, r.URL.Path)))
	})
	ctx, leave := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/one", strings.NewReader(data))
	require.NoError(t, err)
	for name, value := range binary {
		request.Header.Set(name, value)
	}
	go func() {
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			_ = response.Body.Close()
		}
	}()
	assert.Equal(t, "/one", <-begun)
	leave()
	assert.ErrorIs(t, <-ended, context.Canceled)
}

// TestManyRequestsAtOnceAreEachAnswered checks that no request gets the answer of another one, or none.
func TestManyRequestsAtOnceAreEachAnswered(t *testing.T) {
	f := &calling{call: func(_ context.Context, e event.Event) error { return fmt.Errorf("%s %s", e.ID(), e.Data()) }}
	handler, err := host.Handler(f)
	require.NoError(t, err)
	functiontest.Concurrently(64, func(i int) {
		for n := range 200 {
			id := fmt.Sprint(i, "-", n)
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("["+id+"]"))
			for header, value := range binary {
				r.Header.Set(header, value)
			}
			r.Header.Set("Ce-Id", id)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			assert.Equal(t, id+" ["+id+"]\n", w.Body.String())
		}
	})
}

// managed is a function with all methods that func's runtime knows.
type managed struct {
	reacting
	calls []string
}

func (m *managed) Start(_ context.Context, config map[string]string) error {
	m.calls = append(m.calls, "start "+config["A"])
	return nil
}
func (m *managed) Stop(context.Context) error { m.calls = append(m.calls, "stop"); return nil }
func (m *managed) Ready(context.Context) (bool, error) {
	m.calls = append(m.calls, "ready")
	return false, nil
}
func (m *managed) Alive(context.Context) (bool, error) {
	m.calls = append(m.calls, "alive")
	return false, errors.New("stuck")
}

func TestAServedFunctionHasTheMethodsOfTheFunction(t *testing.T) {
	m := &managed{}
	served, err := host.New(m)
	require.NoError(t, err)
	require.NoError(t, served.Start(t.Context(), map[string]string{"A": "1"}))
	ready, err := served.Ready(t.Context())
	assert.False(t, ready)
	assert.NoError(t, err)
	alive, err := served.Alive(t.Context())
	assert.False(t, alive)
	assert.EqualError(t, err, "stuck")
	require.NoError(t, served.Stop(t.Context()))
	assert.Equal(t, []string{"start 1", "ready", "alive", "stop"}, m.calls)

	served, err = host.New(&reacting{})
	require.NoError(t, err)
	require.NoError(t, served.Start(t.Context(), nil))
	for _, ask := range []func(context.Context) (bool, error){served.Ready, served.Alive} {
		yes, err := ask(t.Context())
		assert.True(t, yes)
		assert.NoError(t, err)
	}
	require.NoError(t, served.Stop(t.Context()))
}
