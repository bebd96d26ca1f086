package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// kfake takes the first four bytes of any input as the length of a request and allocates that much, and panics at unknown
// requests. This port passes only valid requests on.
const (
	// maxKafkaRequest is many times a relay's largest batch, and less than the first four bytes of any text.
	maxKafkaRequest = 32 << 20
	// maxKafkaConnections is many times what the harness and its commands open.
	maxKafkaConnections = 1000
	// kafkaHead is the inspected part of a request: its length, its key and its version.
	kafkaHead = 8
	// minKafkaRequest is the size of a key, a version and a correlation id.
	minKafkaRequest = 8
)

// kafkaPort is the listener of the in-process Kafka.
type kafkaPort struct {
	net.Listener
	places chan struct{} // one token per connection
}

// listenForKafka is net.Listen for the in-process Kafka.
func listenForKafka(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return &kafkaPort{Listener: l, places: make(chan struct{}, maxKafkaConnections)}, nil
}

// Accept returns the next connection. It fails only when the port is closed: Kafka would stop listening after any error,
// even if there are just no file descriptors left.
func (p *kafkaPort) Accept() (net.Conn, error) {
	for {
		conn, err := p.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case err != nil:
			time.Sleep(10 * time.Millisecond)
			continue
		}
		select {
		case p.places <- struct{}{}:
			return &kafkaConn{Conn: conn, leave: sync.OnceFunc(func() { <-p.places })}, nil
		default:
			_ = conn.Close() // too many connections
		}
	}
}

// kafkaConn is a connection that checks its requests.
type kafkaConn struct {
	net.Conn
	leave func()

	buffer [kafkaHead]byte
	head   []byte // the rest of a request's head that was inspected but not read yet
	left   int    // bytes of the request after its head
}

// Read reads bytes of one request at most.
func (c *kafkaConn) Read(p []byte) (int, error) {
	if len(c.head) == 0 && c.left == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// next inspects the head of the next request. After an error the connection is closed.
func (c *kafkaConn) next() error {
	if _, err := io.ReadFull(c.Conn, c.buffer[:]); err != nil {
		return err
	}
	length := binary.BigEndian.Uint32(c.buffer[:])
	key := int16(binary.BigEndian.Uint16(c.buffer[4:]))
	if length < minKafkaRequest || length > maxKafkaRequest || kmsg.RequestForKey(key) == nil {
		return fmt.Errorf("%q is not the beginning of a Kafka request", c.buffer)
	}
	c.head, c.left = c.buffer[:], int(length)-(kafkaHead-4)
	return nil
}

// Close ends the connection.
func (c *kafkaConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
