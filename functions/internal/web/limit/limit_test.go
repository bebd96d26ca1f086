package limit

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/functions/internal/web/rest"
)

var begin = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func limiter(t *testing.T, config map[string]string) *Limiter {
	t.Helper()
	l, err := New(config)
	require.NoError(t, err)
	return l
}

// from returns the context of a request from an address, behind proxies that have sent X-Forwarded-For.
func from(t *testing.T, address string, forwarded ...string) context.Context {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
	r.RemoteAddr = address
	for _, value := range forwarded {
		r.Header.Add("X-Forwarded-For", value)
	}
	return With(t.Context(), r)
}

// answer returns what a client gets for the error of Admit.
func answer(t *testing.T, err error) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	rest.Handler(slog.Default, func(http.ResponseWriter, *http.Request) error { return err })(w,
		httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody))
	return w
}

func TestAClientAboveItsRateIsToldWhenToComeBack(t *testing.T) {
	l := limiter(t, map[string]string{"RATE_LIMIT": "0.5/3"})
	ctx := from(t, "192.0.2.1:1000")
	for range 3 {
		require.NoError(t, l.Admit(ctx, begin, false))
	}
	for range 5 { // what is refused does not put the next one off
		w := answer(t, l.Admit(ctx, begin, false))
		require.Equal(t, http.StatusTooManyRequests, w.Code)
		assert.Equal(t, "2", w.Header().Get("Retry-After"))
		assert.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
		var p rest.Problem
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
		assert.Equal(t, "a client may make 0.5 requests per second, and 3 at once: send this request again after 2s, and fewer of them", p.Detail)
	}
	require.NoError(t, l.Admit(from(t, "192.0.2.2:1000"), begin, false), "another client has its own")
	w := answer(t, l.Admit(ctx, begin.Add(1500*time.Millisecond), false))
	assert.Equal(t, "1", w.Header().Get("Retry-After"), "half a second is rounded up")
	require.NoError(t, l.Admit(ctx, begin.Add(2*time.Second), false))
	assert.Error(t, l.Admit(ctx, begin.Add(2*time.Second), false))
}

func TestWritesHaveALimitOfTheirOwn(t *testing.T) {
	l := limiter(t, map[string]string{"RATE_LIMIT": "1/4", "RATE_LIMIT_WRITES": "1/1"})
	ctx := from(t, "192.0.2.1:1000")
	require.NoError(t, l.Admit(ctx, begin, true))
	assert.ErrorContains(t, l.Admit(ctx, begin, true), "that change something")
	for range 3 { // the refused write has taken none of these
		require.NoError(t, l.Admit(ctx, begin, false))
	}
	assert.ErrorContains(t, l.Admit(ctx, begin, false), "1 requests per second, and 4 at once")
	require.NoError(t, limiter(t, map[string]string{"RATE_LIMIT_WRITES": "1/1"}).Admit(ctx, begin, false), "reads are free then")
}

func TestAPrincipalHasOneLimitWhereverItIs(t *testing.T) {
	l := limiter(t, map[string]string{"RATE_LIMIT": "1/1"})
	alice, bob := identity.Principal{Issuer: "https://id.example.com", Subject: "alice"}, identity.Principal{Issuer: "https://id.example.com", Subject: "bob"}
	require.NoError(t, l.Admit(identity.With(from(t, "192.0.2.1:1000"), alice), begin, false))
	assert.Error(t, l.Admit(identity.With(from(t, "192.0.2.2:1000"), alice), begin, false), "from another address")
	assert.NoError(t, l.Admit(identity.With(from(t, "192.0.2.1:1000"), bob), begin, false), "another one behind the same address")
	assert.NoError(t, l.Admit(identity.With(from(t, "192.0.2.1:1000"), identity.Principal{Open: true}), begin, false))
	assert.Error(t, l.Admit(from(t, "192.0.2.1:2000"), begin, false), "without a principal it is the address")
}

func TestWithoutLimitsAndInProcessAllIsAdmitted(t *testing.T) {
	l := limiter(t, map[string]string{"TRUSTED_PROXIES": "1"})
	assert.Nil(t, l)
	assert.NoError(t, l.Admit(from(t, "192.0.2.1:1000"), begin, true))
	l = limiter(t, map[string]string{"RATE_LIMIT": "1/1"})
	for range 3 {
		assert.NoError(t, l.Admit(t.Context(), begin, true))
	}
}

func TestSettingsThatMeanNothingAreRefused(t *testing.T) {
	for _, text := range []string{"50", "/", "50/", "/100", "0/100", "-1/100", "50/0", "50/-1", "50/1.5", "NaN/1", "Inf/1", "fast/100", "50/100/1", "2000000/1", "1/2000000"} {
		for _, name := range []string{"RATE_LIMIT", "RATE_LIMIT_WRITES"} {
			_, err := New(map[string]string{name: text})
			assert.ErrorContains(t, err, fmt.Sprintf("%s is %q: give the requests per second", name, text))
		}
	}
	for _, text := range []string{"-1", "11", "one"} {
		_, err := New(map[string]string{"TRUSTED_PROXIES": text})
		assert.ErrorContains(t, err, "TRUSTED_PROXIES")
	}
}

func TestTheAddressIsTheOneThatTheOutermostTrustedProxySaw(t *testing.T) {
	for name, c := range map[string]struct {
		proxies   int
		remote    string
		forwarded []string
		want      string
	}{
		"no proxy":                      {0, "192.0.2.1:1000", nil, "192.0.2.1"},
		"no proxy, and a client's word": {0, "192.0.2.1:1000", []string{"198.51.100.1"}, "192.0.2.1"},
		"one proxy":                     {1, "10.0.0.1:1000", []string{"198.51.100.1"}, "198.51.100.1"},
		"one, and a client's word":      {1, "10.0.0.1:1000", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"},
		"a client's word on a line":     {1, "10.0.0.1:1000", []string{"203.0.113.9", "198.51.100.1"}, "198.51.100.1"},
		"two proxies":                   {2, "10.0.0.1:1000", []string{"203.0.113.9, 198.51.100.1,10.0.0.2"}, "198.51.100.1"},
		"past the outer of two":         {2, "10.0.0.1:1000", []string{"10.0.0.2"}, "10.0.0.2"},
		"past both":                     {2, "192.0.2.1:1000", nil, "192.0.2.1"},
		"an entry that is no address":   {2, "10.0.0.1:1000", []string{"unknown, 10.0.0.2"}, "10.0.0.2"},
		"an empty entry":                {1, "10.0.0.1:1000", []string{""}, "10.0.0.1"},
		"an entry with a port":          {1, "10.0.0.1:1000", []string{"198.51.100.1:4000"}, "198.51.100.1"},
		"IPv6 is its network":           {0, "[2001:db8:1:2:3:4:5:6]:1000", nil, "2001:db8:1:2::/64"},
		"IPv6 in brackets":              {1, "10.0.0.1:1000", []string{"[2001:db8:1:2:ffff::1]"}, "2001:db8:1:2::/64"},
		"IPv6 with a port":              {1, "10.0.0.1:1000", []string{"[2001:db8:1:2::1]:80"}, "2001:db8:1:2::/64"},
		"IPv4 in IPv6":                  {0, "[::ffff:192.0.2.1]:1000", nil, "192.0.2.1"},
		"a zone":                        {0, "[fe80::1%eth0]:1000", nil, "fe80::/64"},
		"no address":                    {1, "@", []string{"198.51.100.1"}, "@"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, client{c.remote, c.forwarded}.network(c.proxies))
		})
	}
}

func TestOnlySoManyClientsHaveABucket(t *testing.T) {
	b := newBuckets(1, 1, 3)
	for _, key := range []string{"a", "b", "c"} {
		assert.True(t, b.of(key).AllowN(begin, 1))
	}
	assert.False(t, b.of("a").AllowN(begin, 1), "and it is the one that came last now")
	assert.True(t, b.of("d").AllowN(begin, 1), "takes the place of b")
	assert.Len(t, b.byKey, 3)
	assert.Equal(t, 3, b.recent.Len())
	assert.False(t, b.of("a").AllowN(begin, 1))
	assert.False(t, b.of("c").AllowN(begin, 1))
	assert.True(t, b.of("b").AllowN(begin, 1), "was forgotten")
}

func TestConcurrentRequestsOfOneClientShareItsBurst(t *testing.T) {
	l := limiter(t, map[string]string{"RATE_LIMIT": "1/50", "RATE_LIMIT_WRITES": "1/20"})
	ctx := from(t, "192.0.2.1:1000")
	var admitted atomic.Int64
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 100 {
				if l.Admit(ctx, begin, true) == nil {
					admitted.Add(1)
				}
			}
		})
	}
	clients.Wait()
	assert.EqualValues(t, 20, admitted.Load())
	assert.NoError(t, l.Admit(ctx, begin.Add(time.Second), true), "the refused ones have put nothing off")
}
