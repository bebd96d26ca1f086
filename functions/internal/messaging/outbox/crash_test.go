package outbox_test

import (
	"context"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/dberror"
	"example.com/orders/sql/schema"
)

// A relay that dies between the broker's acknowledgement and its own commit causes a duplicate, and loses nothing.
func TestARelayThatDiesAfterPublishingLeavesTheRowsToTheNext(t *testing.T) {
	cases := map[string]func(t *testing.T, kill func(), cancel func()){
		"its connection is killed": func(_ *testing.T, kill func(), _ func()) { kill() },
		"its context is canceled":  func(_ *testing.T, _ func(), cancel func()) { cancel() },
	}
	for name, die := range cases {
		t.Run(name, func(t *testing.T) {
			server := mysqltest.Server(t)
			db := mysqltest.Pool(t, server, schema.Orders)
			dying := mysqltest.Pool(t, server, schema.Orders)
			dying.SetMaxOpenConns(1)
			var id int
			require.NoError(t, dying.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id))
			e, later := fact("a", 1), fact("a", 2)
			store(t, db, e, later)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			b := &broker{t: t, answer: func(context.Context, event.Event) (o outbox.Outcome) {
				die(t, func() { kill(t, db, id) }, cancel)
				return o // the broker has stored it
			}}

			sent, err := relay(dying, b).Sweep(ctx)
			assert.Error(t, err)
			assert.Zero(t, sent)
			assert.Equal(t, state{status: "NEW"}, stored(t, db, e))

			b.answer = nil
			require.Eventually(t, func() bool { // once the server has ended the transaction of the dead relay
				return sweep(t, db, b) == 2
			}, 10*time.Second, time.Millisecond)
			assert.Equal(t, []string{"a#1", "a#1", "a#2"}, b.ids())
			assert.Equal(t, state{status: "SENT"}, stored(t, db, e))
		})
	}
}

func TestAFrozenRelayLosesItsShard(t *testing.T) {
	server := mysqltest.Server(t)
	db := mysqltest.Pool(t, server, schema.Orders)
	short := server
	short.Idle = time.Second
	frozenDB := mysqltest.Pool(t, short, schema.Orders)
	e := fact("a", 1)
	store(t, db, e)
	publishing, thaw := make(chan struct{}), make(chan struct{})
	frozen := &broker{t: t, answer: func(context.Context, event.Event) (o outbox.Outcome) {
		close(publishing)
		<-thaw
		return o
	}}
	ended := make(chan error, 1)
	var begun time.Time
	for holds := false; !holds; {
		begun = time.Now()
		go func() {
			_, err := relay(frozenDB, frozen).Sweep(t.Context())
			ended <- err
		}()
		select {
		case <-publishing:
			holds = true
		case err := <-ended: // the machine was so slow that the connection had been idle for too long
			require.True(t, dberror.IsTransient(err), "%v", err)
		}
	}

	b := &broker{t: t}
	sent := sweep(t, db, b)
	if time.Since(begun) < short.Idle {
		assert.Zero(t, sent, "the shard is claimed")
	}
	require.Eventually(t, func() bool {
		sent += sweep(t, db, b)
		return sent == 1
	}, 10*time.Second, 20*time.Millisecond)
	close(thaw)

	assert.Error(t, <-ended, "it can no longer mark rows")
	assert.Equal(t, []string{"a#1"}, frozen.ids())
	assert.Equal(t, []string{"a#1"}, b.ids())
	assert.Equal(t, state{status: "SENT"}, stored(t, db, e))
}
