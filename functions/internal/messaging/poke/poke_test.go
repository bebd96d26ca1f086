package poke_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/poke"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/web/httpbinding"
)

// The environment's proxy leads nowhere. Clients that respect it skip it only for loopback addresses, and 0.0.0.0, which
// also reaches a local listener, is not one.
func init() {
	if err := os.Setenv("HTTP_PROXY", "http://127.0.0.1:1"); err != nil {
		panic(err)
	}
}

// run runs a poker until the test ends.
func run(t *testing.T, p *poke.Poker) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

func TestPokesThatComeMeanwhileBecomeOneMoreRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rounds, letGo := make(chan event.Event, 100), make(chan struct{})
		p := poke.New("/reserve-stock", func(_ context.Context, e event.Event) error {
			rounds <- e
			<-letGo
			return nil
		}, nil)
		run(t, p)

		p.Poke(3)
		synctest.Wait()
		for range 1000 {
			p.Poke(1)
			p.Poke(7, 0)
		}
		close(letGo)
		synctest.Wait()

		require.Len(t, rounds, 2)
		first, second := <-rounds, <-rounds
		assert.JSONEq(t, `{"shards":[3]}`, string(first.Data()))
		assert.JSONEq(t, `{"shards":[0,1,7]}`, string(second.Data()))
		assert.NoError(t, first.Validate())
		assert.Equal(t, poke.Type, first.Type())
		assert.Equal(t, "/reserve-stock", first.Source())
		assert.NotEqual(t, first.ID(), second.ID())
	})
}

func TestAPokeThatFailsIsNotTriedAgainAndNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("away")
		answers, reported := []error{away, nil}, make(chan error, 10)
		p := poke.New("/s", func(context.Context, event.Event) error {
			next := answers[0]
			answers = answers[1:]
			return next
		}, func(err error) { reported <- err })
		run(t, p)

		p.Poke(1)
		synctest.Wait()
		require.Len(t, reported, 1)
		assert.ErrorIs(t, <-reported, away)
		time.Sleep(time.Hour) // by the test's clock
		assert.Empty(t, reported)

		p.Poke(1)
		synctest.Wait()
		assert.NoError(t, <-reported)
	})
}

func TestPokesTravelOverHTTPInBinaryMode(t *testing.T) {
	got := make(chan event.Event, 1)
	status := http.StatusOK
	address := functiontest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		e, err := httpbinding.Read(w, r, 1000)
		if err == nil {
			got <- e
		}
		w.WriteHeader(status)
	})
	deliver, err := poke.Leaving(address, nil, time.Minute) // however slow the machine is
	require.NoError(t, err)
	e := event.New()
	e.SetID("a%20b")
	e.SetSource("/s")
	e.SetType(poke.Type)
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = []byte(`{"shards":[2]}`)

	require.NoError(t, deliver(t.Context(), e))
	assert.Equal(t, e, <-got)

	status = http.StatusServiceUnavailable
	assert.ErrorContains(t, deliver(t.Context(), e), "503")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, deliver(ended, e), context.Canceled)
}

func TestAPokeThatIsNotAnsweredHoldsUpTheNextForASecondOnly(t *testing.T) {
	const bound = 4
	got, letGo := make(chan struct{}, 10), make(chan struct{})
	address := functiontest.Serve(t, func(http.ResponseWriter, *http.Request) {
		got <- struct{}{}
		<-letGo
	})
	deliver, err := poke.HTTP(address, nil)
	require.NoError(t, err)
	e := event.New()
	e.SetID("1")
	e.SetSource("/s")
	e.SetType(poke.Type)

	var all sync.WaitGroup
	for range bound {
		all.Go(func() { assert.NoError(t, deliver(t.Context(), e)) })
	}
	all.Wait()
	for range bound {
		<-got // maybe after the second
	}
	ended, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, deliver(ended, e), context.DeadlineExceeded, "no more than that are under way")
	assert.Empty(t, got)
	close(letGo)
	assert.NoError(t, deliver(t.Context(), e))
}

func TestPokesGoPastTheProxy(t *testing.T) {
	address := functiontest.Serve(t, func(http.ResponseWriter, *http.Request) {})
	deliver, err := poke.HTTP(strings.Replace(address, "127.0.0.1", "0.0.0.0", 1), nil)
	require.NoError(t, err)
	e := event.New()
	e.SetID("1")
	e.SetSource("/s")
	e.SetType(poke.Type)
	assert.NoError(t, deliver(t.Context(), e))
}

func TestAnAddressThatIsNoneIsRefused(t *testing.T) {
	for name, address := range map[string]string{"no scheme": "publish-outbox", "no host": "http://", "another scheme": "ftp://host", "no URL": "http://a b"} {
		_, err := poke.HTTP(address, nil)
		assert.ErrorContains(t, err, "is not a URL like", name)
	}
}
