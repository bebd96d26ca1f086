package createorder

import (
	"net/http"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"

	"example.com/orders/functions/internal/testkit/functiontest"
)

// Any body either creates an order or is refused as the sender's mistake.
func FuzzCreateOrderBody(f *testing.F) {
	function := functiontest.Start(f, New(), nil)
	for _, data := range []string{body, otherBody, `{}`, `null`, `{"customerEmail":"\ud83d\ude00@b","items":[{"sku":"\u0041","quantity":1e3,"unitPrice":-0}]}`} {
		f.Add(true, "", []byte(data))
		f.Add(false, "", []byte(envelope("", data)))
	}
	f.Add(false, "k", []byte(envelope(`,"idempotencykey":7,"correlationid":true,"time":"2026-11-25T12:00:00Z"`, body)))
	f.Add(false, "", []byte(`{"specversion":"0.3","id":"\u0000","source":"/shop","type":"order.create","data_base64":"e30="}`))
	f.Fuzz(func(t *testing.T, inBinary bool, key string, data []byte) {
		header := http.Header{"Content-Type": {event.ApplicationCloudEventsJSON}}
		if inBinary {
			header = binary()
		}
		if key != "" {
			header["Ce-Id"] = []string{key}
			header["Ce-Idempotencykey"] = []string{key}
			header["Ce-Correlationid"] = []string{key}
		}
		w := post(function, header, string(data))
		assert.Less(t, w.Code, 500, w.Body.String())
		assert.True(t, w.Code == http.StatusCreated || w.Code >= 400, w.Body.String())
	})
}

// Any header either becomes an attribute, is ignored, or is refused as the sender's mistake.
func FuzzCreateOrderHeader(f *testing.F) {
	function := functiontest.Start(f, New(), nil)
	for _, pair := range [][2]string{{"Ce-", "x"}, {"Ce-Id", "\xff"}, {"Ce-Source", "%"}, {"Ce-Time", "noon"}, {"Ce-A-B", "x"}, {"Content-Type", ";"}, {"Ce-Traceparent", "00-"}} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		header := binary()
		header[http.CanonicalHeaderKey(name)] = []string{value}
		w := post(function, header, body)
		assert.Less(t, w.Code, 500, w.Body.String())
	})
}
