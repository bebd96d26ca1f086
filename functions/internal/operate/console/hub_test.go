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
)

// counter is a view whose data is the number of its reads, and a hub where all views are like it.
type counter struct {
	reads  atomic.Int64
	same   atomic.Bool // the data stays 0
	broken atomic.Bool
}

func (c *counter) hub() *hub {
	return newHub(func(string) (view, bool) {
		return view{time.Second, func(context.Context) (any, error) {
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
			return view{time.Second, func(context.Context) (any, error) {
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
			return view{time.Second, func(ctx context.Context) (any, error) {
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

func TestAMessageIsOneLine(t *testing.T) {
	text, err := read(t.Context(), "orders", view{time.Second, func(context.Context) (any, error) {
		return "a\nb\r\nc", nil // a line break would end the event
	}})
	require.NoError(t, err)
	assert.NotContains(t, string(text), "\n")
	var m message
	require.NoError(t, json.Unmarshal(text, &m))
	assert.Equal(t, "a\nb\r\nc", m.Data)
	text, err = read(t.Context(), "x", view{time.Second, func(context.Context) (any, error) { return func() {}, nil }})
	require.Error(t, err)
	assert.Contains(t, string(text), "error")
}

func TestViewsAreKnownByTheirNames(t *testing.T) {
	c := &Console{}
	id := "01a2131d-19f5-73f3-957a-f504bf20da07"
	for _, name := range []string{"flow", "counts", "stock", "audit", "orders", "orders:FAILED", "order:" + id, "outbox:parked", "deadletters:state=open&page=2", "deadletters:", "openletters"} {
		_, ok := c.view(name)
		assert.True(t, ok, name)
	}
	for _, name := range []string{"", "flow:x", "orders:", "orders:LOST", "order", "order:1", "outbox", "outbox:lost", "deadletters", "deadletters:open", "deadletters:state=lost", "deadletters:page=0", strings.ToUpper(id)} {
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
