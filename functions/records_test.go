package functions_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/reservestock"
)

// Anybody may write to a topic. Whatever a record contains, the function handles it or reports poison: it never asks for a
// retry because of the contents.
func TestARecordWithOddAttributesIsHandledOrPoison(t *testing.T) {
	f := reservestock.New()
	f.Log = slog.New(slog.DiscardHandler)
	functiontest.Start(t, f, nil)
	odd := map[string]string{
		"not UTF-8": "\xff\xfe", "half a pair": "\xed\xa0\x80", "NUL": "a\x00b", "control characters": "\x01\x1b[31m", "line breaks": "a\r\nb",
		"an emoji": "😀", "spaces": "a b", "a percent": "%ff", "quotes": `'"\`, "129 characters": strings.Repeat("é", 129), "a megabyte": strings.Repeat("x", 1<<20),
	}
	taken := map[string]bool{"an emoji": true, "spaces": true, "a percent": true, "quotes": true}
	long := map[string]bool{"129 characters": true, "a megabyte": true}
	for how, value := range odd {
		for name, want := range map[string]int{
			"ce_id":     answer(taken[how]),
			"ce_source": answer(false), "ce_type": answer(false), "ce_subject": answer(false), "ce_dataschema": answer(false), "ce_time": answer(false),
			// These are not stored as they are: the flow's ids are stored as hashes, and a key only sorts.
			"ce_partitionkey": answer(taken[how] || long[how]), "ce_correlationid": answer(taken[how] || long[how]),
			"ce_tracestate": answer(taken[how] || long[how]), "ce_other": answer(taken[how] || long[how]),
			"key": answer(true), "other": answer(true),
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				e := functiontest.Event(t, functiontest.Created(t, events.Item{SKU: "SKU-123", Quantity: 1, UnitPrice: 1}), 1)
				message, err := kafka.Encode(t.Context(), e)
				require.NoError(t, err)
				record := &sarama.ConsumerMessage{Topic: message.Topic, Key: []byte(e.Subject()), Value: e.Data()}
				for _, h := range message.Headers {
					if string(h.Key) != name {
						record.Headers = append(record.Headers, &h)
					}
				}
				if name == "key" {
					record.Key = []byte(value)
				} else {
					record.Headers = append(record.Headers, &sarama.RecordHeader{Key: []byte(name), Value: []byte(value)})
				}

				decoded := kafka.Decode(record, "orders", "reserve-stock.order.created")
				answer := f.Handle(t.Context(), decoded)

				assert.Equal(t, want, delivery.Status(answer), "%v", answer)
				if want == http.StatusOK && name == "ce_id" {
					stored := mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM inbox WHERE event_id = ?", value)
					assert.Equal(t, 1, stored, "under the id that it has")
				}
			})
		}
	}
}

func answer(taken bool) int {
	if taken {
		return http.StatusOK
	}
	return http.StatusUnprocessableEntity
}
