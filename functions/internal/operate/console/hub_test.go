package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/observe/health"
)

// counter is a view whose data is the number of its reads, and a hub where all views are like it.
type counter struct {
	reads  atomic.Int64
	same   atomic.Bool // the data stays 0
	broken atomic.Bool
}

func (c *counter) hub() *hub {
	return newHub(func(string) (view, bool) {
		return view{every: time.Second, read: func(context.Context) (any, error) {
			n := c.reads.Add(1)
			switch {
			case c.broken.Load():
				return nil, errors.New("the database is away")
			case c.same.Load():
				return 0, nil
			default:
				return n, nil
			}
		}}, true
	})
}

// next returns the text of the next message, empty if there is none yet.
func next(t *testing.T, c *client) string {
	t.Helper()
	select {
	case text, ok := <-c.messages:
		require.True(t, ok, "the client was dropped")
		return string(text)
	default:
		return ""
	}
}

func TestAClientGetsTheLatestStateAndThenChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v counter
		h := v.hub()
		defer h.close()
		first := h.join("10.0.0.1", []string{"stock"})
		synctest.Wait()
		assert.Equal(t, `{"view":"stock","data":1}`, next(t, first))
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, `{"view":"stock","data":2}`, next(t, first))

		second := h.join("10.0.0.1", []string{"stock"})
		assert.Equal(t, `{"view":"stock","data":2}`, next(t, second), "it is not read for each client")
		assert.Empty(t, next(t, first))
	})
}

func TestUnchangedViewsAreNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v counter
		v.same.Store(true)
		h := v.hub()
		defer h.close()
		c := h.join("10.0.0.1", []string{"stock"})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		assert.NotEmpty(t, next(t, c))
		assert.Empty(t, next(t, c))
		assert.GreaterOrEqual(t, v.reads.Load(), int64(10))
	})
}

func TestAViewIsReadOnlyWhileItIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v counter
		h := v.hub()
		defer h.close()
		c := h.join("10.0.0.1", []string{"stock", "audit"})
		synctest.Wait()
		h.leave(c)
		before := v.reads.Load()
		time.Sleep(time.Minute)
		assert.Equal(t, before, v.reads.Load())
		h.leave(c) // a second time has no effect
		assert.Empty(t, h.clients)
	})
}

func TestAViewSendsItsErrorAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v counter
		v.broken.Store(true)
		h := v.hub()
		defer h.close()
		c := h.join("10.0.0.1", []string{"stock"})
		synctest.Wait()
		assert.Equal(t, `{"view":"stock","error":"the database is away"}`, next(t, c))
		v.broken.Store(false)
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Contains(t, next(t, c), `"data"`)
	})
}

func TestASlowClientIsDroppedAndBlocksNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v counter
		h := v.hub()
		defer h.close()
		slow, quick := h.join("10.0.0.1", []string{"stock"}), h.join("10.0.0.1", []string{"stock"})
		received := 0
		for range 2 * backlogged {
			time.Sleep(time.Second)
			synctest.Wait()
			for next(t, quick) != "" {
				received++
			}
		}
		assert.Greater(t, received, backlogged)
		left := 0
		for range slow.messages { // closed
			left++
		}
		assert.Equal(t, backlogged, left)
		assert.Equal(t, 1, h.count())
	})
}

func TestAViewThatTakesLongIsReadSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		h := newHub(func(string) (view, bool) {
			return view{every: time.Second, read: func(context.Context) (any, error) {
				time.Sleep(6 * time.Second)
				reads++
				return reads, nil
			}}, true
		})
		defer h.close()
		h.join("10.0.0.1", []string{"counts"})
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, 1, reads, "the next one begins after ten times as long")
	})
}

func TestAHangingSourceIsReadAgainSoonAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hanging atomic.Bool
		hanging.Store(true)
		h := newHub(func(string) (view, bool) {
			return view{every: time.Second, read: func(ctx context.Context) (any, error) {
				if hanging.Load() {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return "well", nil
			}}, true
		})
		defer h.close()
		c := h.join("127.0.0.1", []string{"stock"})
		time.Sleep(readWithin + time.Millisecond)
		synctest.Wait()
		assert.Contains(t, next(t, c), "error")
		hanging.Store(false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Contains(t, next(t, c), "well", "it does not pause in proportion to the time that it hung")
	})
}

func TestARefreshReadsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v counter
		h := v.hub()
		defer h.close()
		c := h.join("10.0.0.1", []string{"outbox:parked"})
		synctest.Wait()
		require.NotEmpty(t, next(t, c))
		h.refresh("deadletters")
		synctest.Wait()
		assert.Empty(t, next(t, c))
		h.refresh("outbox")
		synctest.Wait()
		assert.NotEmpty(t, next(t, c))
	})
}

// count returns the number of clients.
func (h *hub) count() (n int) {
	for _, clients := range h.clients {
		n += len(clients)
	}
	return n
}

// TestOpenStreamsOfOthersDoNotLockOutAnAddress has addresses that open as many streams as possible.
func TestOpenStreamsOfOthersDoNotLockOutAnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v counter
		v.same.Store(true)
		h := v.hub()
		defer h.close()
		join := func(address string) *client {
			c := h.join(address, []string{"stock"})
			require.NotNil(t, c)
			require.LessOrEqual(t, len(h.clients[address]), maxOfOne)
			require.LessOrEqual(t, h.count(), maxClients)
			return c
		}
		person := join("10.0.0.1")
		first := join("10.0.0.2")
		second := join("10.0.0.2")
		for range maxOfOne - 2 {
			join("10.0.0.2")
		}
		require.False(t, first.gone)
		join("10.0.0.2")
		assert.True(t, first.gone, "the oldest of an address that has too many makes room")
		for range first.messages { // ends
		}
		assert.False(t, second.gone)

		for n := range 4 * maxClients {
			join("10.0.1." + strconv.Itoa(n%5))
		}
		assert.Equal(t, maxClients, h.count())
		assert.False(t, person.gone, "who has one stream keeps it")
		assert.False(t, join("10.0.0.3").gone, "and who comes gets one")
		assert.Equal(t, maxClients, h.count())
	})
}

func TestClientsAreEndedByClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v counter
		h := v.hub()
		c := h.join("10.0.0.1", []string{"stock"})
		h.close()
		h.close()
		for range c.messages { // ends
		}
		assert.Nil(t, h.join("10.0.0.1", []string{"stock"}))
	})
}

// TestWatchersLearnOfAReadThatHangs has a view whose server hangs, and does not even heed the end of the context.
func TestWatchersLearnOfAReadThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var frozen atomic.Bool
		thaw := make(chan struct{})
		h := newHub(func(string) (view, bool) {
			return view{every: time.Second, from: []string{Kafka}, read: func(context.Context) (any, error) {
				if frozen.Load() {
					<-thaw
				}
				return 7, nil
			}}, true
		})
		defer h.close()
		c := h.join("10.0.0.1", []string{"flow"})
		synctest.Wait()
		assert.Equal(t, `{"view":"flow","from":["kafka"],"data":7}`, next(t, c))
		readAt := time.Now()
		frozen.Store(true)
		time.Sleep(3*time.Second + time.Millisecond) // the pause, and the time that a read may take
		synctest.Wait()
		failure := `{"view":"flow","from":["kafka"],"error":"gives no answer within 2s","at":"` + moment(readAt) + `"}`
		assert.Equal(t, failure, next(t, c))

		late := h.join("10.0.0.2", []string{"flow"})
		assert.Contains(t, next(t, late), `"data":7`, "a page that is opened now gets the old numbers")
		assert.Equal(t, failure, next(t, late), "and from when they are")
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Empty(t, next(t, c), "it is not told twice")

		frozen.Store(false)
		close(thaw)
		synctest.Wait()
		assert.Contains(t, next(t, c), `"data":7`, "the same numbers, but they are current again")
	})
}

func TestAnOutageSaysWhenTheServerWorkedForTheLastTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hangs, idle atomic.Bool
		var changes, checks atomic.Int64
		m := newMonitor(map[string]func(context.Context) error{
			Kafka: func(context.Context) error {
				checks.Add(1)
				return nil
			},
			Database: func(context.Context) error {
				if hangs.Load() {
					time.Sleep(health.Within)
					return health.ErrHangs
				}
				return nil
			},
		}, func() bool { return !idle.Load() }, func() { changes.Add(1) })
		defer m.close()
		time.Sleep(10*time.Second + checkEvery/2)
		outages, err := m.read(t.Context())
		require.NoError(t, err)
		assert.Empty(t, outages)
		worked := time.Now().Add(-checkEvery / 2)
		hangs.Store(true)
		time.Sleep(checkEvery + health.Within)
		synctest.Wait()
		for range 2 {
			outages, err = m.read(t.Context())
			require.NoError(t, err)
			assert.Equal(t, []outage{{Database, "gives no answer within 2s", moment(worked)}}, outages)
			time.Sleep(time.Minute) // it does not become younger
		}
		assert.Equal(t, int64(1), changes.Load())
		hangs.Store(false)
		time.Sleep(health.Within + 2*checkEvery)
		synctest.Wait()
		outages, err = m.read(t.Context())
		require.NoError(t, err)
		assert.Empty(t, outages)
		assert.Equal(t, int64(2), changes.Load())

		idle.Store(true)
		before := checks.Load()
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.InDelta(t, 12, checks.Load()-before, 1, "without a page it is enough to know about when")
		idle.Store(false)
		before = checks.Load()
		time.Sleep(checkEvery)
		synctest.Wait()
		assert.Equal(t, before+1, checks.Load(), "a page that is opened knows at once")
	})
}

func TestTheHistoryIsOfFifteenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var taken, changes atomic.Int64
		r := newRecorder(func(context.Context) (point, bool) {
			n := taken.Add(1)
			return point{at: time.Now(), topics: map[string]float64{"order.created": float64(n)}, sources: map[string]measured{"notify": {lag: n}}}, n%10 != 1
		}, func() { changes.Add(1) })
		defer r.close()
		time.Sleep(time.Hour)
		synctest.Wait()
		answer, err := r.read(t.Context())
		require.NoError(t, err)
		text, err := json.Marshal(answer)
		require.NoError(t, err)
		var history struct {
			At      []int64
			Topics  map[string][]float64
			Sources map[string]struct{ Rate, Lag []float64 }
		}
		require.NoError(t, json.Unmarshal(text, &history))
		points := len(history.At)
		assert.Equal(t, 82, points, "a tenth of 91 could not be read")
		assert.GreaterOrEqual(t, history.At[0], time.Now().Add(-historyLength-historyEvery).Unix())
		assert.Len(t, history.Topics["order.created"], points)
		assert.Equal(t, history.Topics["order.created"], history.Sources["notify"].Lag)
		assert.Len(t, history.Sources["notify"].Rate, points)
		assert.Greater(t, changes.Load(), int64(300))
	})
}

func TestAMessageIsOneLine(t *testing.T) {
	h := newHub(nil)
	text, err := h.read(t.Context(), "orders", view{read: func(context.Context) (any, error) {
		return "a\nb\r\nc", nil // a line break would end the event
	}}, &feed{})
	require.NoError(t, err)
	assert.NotContains(t, string(text), "\n")
	var m message
	require.NoError(t, json.Unmarshal(text, &m))
	assert.Equal(t, "a\nb\r\nc", m.Data)
	_, err = h.read(t.Context(), "x", view{read: func(context.Context) (any, error) { return func() {}, nil }}, &feed{})
	require.Error(t, err)
}

func TestViewsAreKnownByTheirNames(t *testing.T) {
	c := &Console{}
	id := "01a2131d-19f5-73f3-957a-f504bf20da07"
	for _, name := range []string{"outages", "flow", "history", "outboxes", "counts", "stock", "stock:SKU-1:SKU-100", "stock::", "audit", "orders", "orders:FAILED", "order:" + id, "outbox:parked", "deadletters:state=open&page=2", "deadletters:", "openletters", "letterjobs"} {
		_, ok := c.view(name)
		assert.True(t, ok, name)
	}
	for _, name := range []string{"", "flow:x", "orders:", "orders:LOST", "order", "order:1", "outbox", "outbox:lost", "stock:x", "stock:a b:", "deadletters", "deadletters:open", "deadletters:state=lost", "deadletters:page=0", strings.ToUpper(id)} {
		_, ok := c.view(name)
		assert.False(t, ok, name)
	}
}

func TestTheProducerOfAFactIsFoundByItsCause(t *testing.T) {
	top := topology{
		Emits:   []emission{{"finalize-order", "order.failed"}, {"expire-orders", "order.failed"}, {"create-order", "order.created"}},
		Handles: []handling{{Topic: "inventory.rejected", Function: "finalize-order"}},
	}
	for _, c := range [][3]string{
		{"order.failed", "inventory.rejected", "finalize-order"},
		{"order.failed", "", "expire-orders"},
		{"order.created", "", "create-order"},
		{"order.lost", "", ""},
	} {
		assert.Equal(t, c[2], top.producer(c[0], c[1]), fmt.Sprint(c))
	}
}
