package outbox_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/outboxtest"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/transaction"
)

// The shard is part of the stored data: these are the low three bits of the published FNV-1a vectors.
func TestShardNeverChanges(t *testing.T) {
	for id, want := range map[string]uint8{"": 0x811c9dc5 % 8, "a": 0xe40c292c % 8, "b": 0xe70c2de5 % 8, "foobar": 0xbf9cf968 % 8} {
		assert.Equal(t, want, outbox.Shard(id), "%q", id)
	}
}

func TestEventsLeaveTheOutboxAsTheyWentIn(t *testing.T) {
	full := fact("order-full", 1)
	full.SetDataSchema("https://example.com/orders/schemas/order.created.v1.json")
	full.SetTime(time.Date(2026, 3, 29, 2, 30, 0, 123456789, time.UTC))
	for name, value := range map[string]string{
		"partitionkey": "order-full", "correlationid": "flow/1", "causationid": "order-full#0",
		"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": `vendor=a"b\c, other=1`,
	} {
		full.SetExtension(name, value)
	}
	foreign := event.New()
	foreign.SetID("\u00fc/\U0001f4e6 <&>")
	foreign.SetSource("/inventory")
	foreign.SetSubject("order-foreign")
	foreign.SetType("inventory.released")
	foreign.SetDataContentType("application/json; charset=utf-8")
	foreign.DataEncoded = []byte("{\"z\":1, \"a\" : \"\u00e4\\u00e4 \U0001f600\",\r\n\t\"n\":1e3, \"n\":1000}\n ")
	large := fact("order-large", 1)
	large.DataEncoded = []byte(`{"text":"` + strings.Repeat("x\u00e9", 1<<19) + `"}`)
	empty := fact("order-empty", 1)
	empty.DataEncoded = nil

	db := mysqltest.Open(t, schema.Orders)
	cases := map[string]event.Event{"all attributes": full, "few attributes, odd text": foreign, "more than a megabyte": large, "no data": empty}
	for name, e := range cases {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, e.Validate())
			store(t, db, e)
			got := outboxtest.Drain(t, db)
			require.Len(t, got, 1)
			assert.Equal(t, string(e.Data()), string(got[0].Data()), "byte by byte")
			assert.Equal(t, e.Context, got[0].Context)
			assert.False(t, got[0].DataBase64)
		})
	}
}

func TestTransactReturnsTheShardsOfWhatItStored(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	assert.Equal(t, []uint8{outbox.Shard("a"), outbox.Shard("foobar")}, store(t, db, fact("a", 1), fact("foobar", 1)))
	assert.Empty(t, store(t, db))
	assert.Equal(t, 2, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox WHERE status = 'NEW' AND attempts = 0 AND aggregate_type = 'ORDER'"))
}

func TestTransactStoresNothingWhenTheWorkFails(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	refused := errors.New("no such order")
	runs := 0
	shards, err := outbox.Store{DB: db, Now: time.Now}.Transact(t.Context(), func(ctx context.Context, tx *transaction.Tx) ([]event.Event, error) {
		runs++
		_, err := outbox.Append(ctx, tx, time.Now(), []event.Event{fact("a", 1)})
		require.NoError(t, err)
		return []event.Event{fact("a", 2)}, refused
	})
	assert.ErrorIs(t, err, refused)
	assert.Empty(t, shards)
	assert.Equal(t, 1, runs, "other errors are not retried")
	assert.Zero(t, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox"))
}

func TestTransactStoresAllEventsOrNone(t *testing.T) {
	db := mysqltest.Open(t, schema.Orders)
	tooLong := fact(strings.Repeat("x", 65), 1) // wider than the column of aggregate ids
	_, err := outbox.Store{DB: db, Now: time.Now}.Transact(t.Context(), func(context.Context, *transaction.Tx) ([]event.Event, error) {
		return []event.Event{fact("a", 1), tooLong}, nil
	})
	assert.ErrorContains(t, err, "aggregate_id")
	assert.Zero(t, mysqltest.Count(t, db, "SELECT COUNT(*) FROM outbox"))
}
