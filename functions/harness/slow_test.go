package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/kafka"
)

// unreadOn opens clients that send times requests to a path and read no answer.
func (p *process) unreadOn(t *testing.T, clients int, path string, times int) (opened []net.Conn) {
	t.Helper()
	request := "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for range clients {
		opened = append(opened, unread(t, strings.TrimPrefix(p.url, "http://"), strings.Repeat(request, times)))
	}
	return opened
}

// unsentOn opens clients that announce a body and send one byte of it.
func (p *process) unsentOn(t *testing.T, clients int, method, path string) (opened []net.Conn) {
	t.Helper()
	request := method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n" +
		"Ce-Specversion: 1.0\r\nCe-Type: order.create\r\nCe-Source: /test\r\nCe-Id: 1\r\n\r\n{"
	for range clients {
		opened = append(opened, unread(t, strings.TrimPrefix(p.url, "http://"), request))
	}
	return opened
}

// served asserts that an order is accepted and that the console shows it.
func (p *process) served(t *testing.T, letter string) {
	t.Helper()
	var o order
	p.await(t, "an order is taken", func() bool {
		return p.do(t, http.MethodPost, "/api/orders", nil, body("MANY", 1), &o) == http.StatusCreated
	})
	p.awaitStatus(t, o.OrderID, "CONFIRMED")
	var page struct{ Value string }
	p.await(t, "the letter is shown", func() bool { return p.get(t, letter, &page) == http.StatusOK })
	assert.NotEmpty(t, page.Value)
	for _, view := range []string{"flow", "deadletters:state=open", "order:" + o.OrderID} {
		response, err := http.Get(p.url + "/console/events?view=" + view)
		require.NoError(t, err)
		stream := bufio.NewReader(response.Body)
		for line := ""; !strings.HasPrefix(line, "data: "); {
			line, err = stream.ReadString('\n')
			require.NoError(t, err, "the stream of %s", view)
		}
		require.NoError(t, response.Body.Close())
	}
}

// TestSlowClientsOnEveryRouteBlockNoOthers has a hundred clients at a time on each route, which neither read nor send. Some
// of each kind are still connected when the harness shuts down.
func TestSlowClientsOnEveryRouteBlockNoOthers(t *testing.T) {
	p := newStack(t).up(t)
	require.Equal(t, http.StatusCreated, p.do(t, http.MethodPut, "/api/inventory/MANY", nil, `{"availableQty":1000}`, nil))
	o := p.place(t, "MANY", 1)
	letter := p.putLetter(t, "reserve-stock", strings.Repeat("x", 900_000))

	const enough = 100 // that many answers of a few kB exceed all buffers
	reading := map[string]int{
		"/": enough, "/docs": enough, "/openapi.json": enough, "/console/static/app.js": enough, "/metrics": enough, letter: 8,
		"/api/orders": 1, "/api/orders/" + o.OrderID: 1, "/api/inventory": 1, "/console/topology": enough,
		"/console/events?view=flow&view=orders&view=deadletters:state=open": 1, "/console/outbox/orders/1": 1, "/health": 1, "/health/ready": 1,
		"/health/live": enough, "/info": enough, "/functions/notify/health/readiness": 1, "/functions/orders-api/api/orders": 1, "/nothing": enough,
	}
	sending := map[string]string{
		"/api/orders": "POST", "/api/inventory/MANY": "PUT", "/api/inventory/MANY/adjustments": "POST", "/console/deadletters": "POST",
		"/console/outbox": "POST", "/functions/create-order": "POST", "/functions/notify": "POST", "/functions/reserve-stock": "POST",
		"/functions/publish-outbox-orders": "POST",
	}
	const clients = 100
	for path, times := range reading {
		opened := p.unreadOn(t, clients, path, times)
		p.served(t, letter)
		hangUp(t, opened)
	}
	var unsent []net.Conn
	for path, method := range sending {
		unsent = append(unsent, p.unsentOn(t, clients, method, path)...)
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() { // a byte a second
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				for _, conn := range unsent {
					_, _ = io.WriteString(conn, " ") // the server may have cut the connection
				}
			}
		}
	}()
	p.served(t, letter)
	close(end)
	<-ended
	hangUp(t, unsent)

	for path, times := range reading {
		p.unreadOn(t, 3, path, times)
	}
	for path, method := range sending {
		p.unsentOn(t, 3, method, path)
	}
	p.audit(t)
	begin := time.Now()
	p.stop(t)
	t.Logf("it ended within %s", time.Since(begin))
}

func hangUp(t *testing.T, opened []net.Conn) {
	t.Helper()
	for _, conn := range opened {
		require.NoError(t, conn.Close())
	}
}

// putLetter writes a dead letter of an order.create and returns its path in the console.
func (p *process) putLetter(t *testing.T, consumer, value string) string {
	t.Helper()
	prefix := p.stack.topicPrefix()
	producer, err := sarama.NewSyncProducer(p.brokers(t, p.stack), p.topics(t).Config())
	require.NoError(t, err)
	defer func() { assert.NoError(t, producer.Close()) }()
	m := &sarama.ProducerMessage{Topic: prefix + "order.created.dlq", Value: sarama.StringEncoder(value), Headers: []sarama.RecordHeader{
		{Key: []byte("ce_specversion"), Value: []byte("1.0")}, {Key: []byte("ce_type"), Value: []byte("order.create")},
		{Key: []byte("ce_source"), Value: []byte("/test")}, {Key: []byte("ce_id"), Value: []byte("1")},
		{Key: []byte("content-type"), Value: []byte("application/json")},
		{Key: []byte(kafka.HeaderConsumer), Value: []byte(consumer)},
		{Key: []byte(kafka.HeaderTopic), Value: []byte(prefix + "order.created")},
	}}
	_, _, err = producer.SendMessage(m)
	require.NoError(t, err)
	return fmt.Sprintf("/console/deadletters/%s/%d/%d", m.Topic, m.Partition, m.Offset)
}
