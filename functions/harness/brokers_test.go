package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/porttest"
)

func TestAListenerThatCannotBeResolvedIsNamedAndTriedAgain(t *testing.T) {
	t.Parallel()
	c := kafkatest.Fake(t)
	_, end := c.Advertise(t, "kafka.invalid:9092")
	s := newStack(t)
	address := porttest.Address(t)
	environ := append(slices.Clone(s.environ), "KAFKA_BROKERS="+strings.Join(c.Brokers, ","),
		"KAFKA_SASL_MECHANISM=", "KAFKA_SASL_USER=", "KAFKA_SASL_PASSWORD=", "KAFKA_USERS_SECRET=") // it asks for no login
	p := launch(t, environ, "up", "--addr", address, "--data", s.data)
	p.stack, p.url = s, "http://"+address

	p.awaitLog(t, "the broker at "+c.Brokers[0]+" advertises kafka.invalid:9092, which this machine cannot resolve")

	end()
	p.await(t, "it is ready", func() bool { return p.get(t, "/health", nil) == http.StatusOK })
	p.awaitStatus(t, p.place(t, "SKU-123", 1).OrderID, "CONFIRMED")
}

func TestBrokersThatAreNoAddressesAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	for brokers, says := range map[string]string{
		"PLAINTEXT://127.0.0.1:9092": "leave out PLAINTEXT://",
		"127.0.0.1":                  `"127.0.0.1" is not an address: give host:port`,
		"127.0.0.1:9092,":            `"" is not an address: give host:port`,
	} {
		for _, command := range []string{"up --addr " + porttest.Address(t), "audit", "deadletters list"} {
			p := launch(t, []string{"KAFKA_BROKERS=" + brokers, "MYSQL_DSN=root@tcp(127.0.0.1:1)/"}, append(strings.Fields(command), "--data", t.TempDir())...)
			<-p.ended
			require.Error(t, p.err, command)
			assert.Contains(t, p.log.String(), "KAFKA_BROKERS is", command)
			assert.Contains(t, p.log.String(), says, command)
		}
	}
}
