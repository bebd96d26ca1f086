package kafka_test

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/porttest"
)

func TestBrokersAreHostAndPort(t *testing.T) {
	for text, want := range map[string][]string{
		"127.0.0.1:9092":             {"127.0.0.1:9092"},
		"a:1,b:2":                    {"a:1", "b:2"},
		"a:1 ,\tb.example.com:65535": {"a:1", "b.example.com:65535"},
		"[::1]:9092":                 {"[::1]:9092"},
	} {
		brokers, err := kafka.ParseBrokers(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, brokers)
	}
	for text, says := range map[string]string{
		"PLAINTEXT://127.0.0.1:9092": "leave out PLAINTEXT://",
		"a:1,SASL_SSL://b:2":         "leave out SASL_SSL://",
		"kafka":                      `"kafka" is not an address`,
		"a:1,,b:2":                   `"" is not an address`,
		"a:1,":                       `"" is not an address`,
		" ":                          `"" is not an address`,
		"a:1 b:2":                    `"a:1 b:2" is not an address`,
		"my host:9092":               `"my host:9092" has no host`,
		":9092":                      `":9092" has no host`,
		"user@host:9092":             "has no host",
		"host:":                      "has no port from 1 to 65535",
		"host:kafka":                 "has no port from 1 to 65535",
		"host:0":                     "has no port from 1 to 65535",
		"host:65536":                 "has no port from 1 to 65535",
		"::1:9092":                   "is not an address",
	} {
		_, err := kafka.ParseBrokers(text)
		require.ErrorContains(t, err, says, text)
		assert.ErrorContains(t, err, "give host:port, several separated by commas")
	}
}

func TestDiagnoseNamesTheAddressThatIsWrong(t *testing.T) {
	c := kafkatest.Fake(t)
	require.NoError(t, kafka.Diagnose(t.Context(), c.Brokers))
	web := strings.TrimPrefix(functiontest.Serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }), "http://")
	closed := porttest.Address(t)

	err := kafka.Diagnose(t.Context(), []string{closed})
	require.ErrorContains(t, err, "KAFKA_BROKERS names "+closed+", which this machine cannot reach (")
	err = kafka.Diagnose(t.Context(), []string{"kafka.invalid:9092", closed})
	require.ErrorContains(t, err, "KAFKA_BROKERS names kafka.invalid:9092, which this machine cannot resolve (")
	require.ErrorContains(t, err, closed, "each that is wrong")
	err = kafka.Diagnose(t.Context(), []string{web})
	require.ErrorContains(t, err, web+" does not answer like a broker")
	require.NoError(t, kafka.Diagnose(t.Context(), append([]string{closed}, c.Brokers...)), "one that answers is enough")

	_, end := c.Advertise(t, "kafka.invalid:9092")
	err = kafka.Diagnose(t.Context(), c.Brokers)
	require.ErrorContains(t, err, "the broker at "+c.Brokers[0]+" advertises kafka.invalid:9092, which this machine cannot resolve (")
	require.ErrorContains(t, err, "set its advertised.listeners")
	end()
	_, end = c.Advertise(t, closed)
	require.ErrorContains(t, kafka.Diagnose(t.Context(), c.Brokers), "advertises "+closed+", which this machine cannot reach (")
	end()
	require.NoError(t, kafka.Diagnose(t.Context(), c.Brokers))
}

func TestTheReasonOfAKafkaOutageIsLoggedOnceWhileWaiting(t *testing.T) {
	c := kafkatest.Fake(t)
	asked, end := c.Advertise(t, "kafka.invalid:9092")
	defer end()
	book := newLogbook()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		kafka.LogDiagnosis(ctx, c.Brokers, slog.New(book))
	}()
	for range 3 {
		<-asked
	}
	cancel()
	<-ended
	assert.Equal(t, map[string]int{"cannot reach Kafka, retrying": 1}, book.all())
}

func TestSourceNamesTheAddressThatIsWrong(t *testing.T) {
	c := kafkatest.Fake(t)
	name := topic(t, c, "order.created", 1)
	p := newProbe(nil)
	o := options(t, c, name, p)
	closed := porttest.Address(t)
	o.Brokers = []string{closed}
	var said functiontest.Log
	o.Log = slog.New(slog.NewTextHandler(&said, nil))
	start(t, o)
	require.Eventually(t, func() bool { return strings.Contains(said.String(), "KAFKA_BROKERS names "+closed) }, patience, 10*time.Millisecond)
}
