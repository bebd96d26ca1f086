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

// The Kafka in this process takes the first four bytes of whatever comes for the length of a request and allocates that
// much, and panics at a request that it has never heard of. Its port lets nothing through to it that is no request.
const (
	// maxKafkaRequest is many times what a relay sends at once, and less than the first four bytes of any text.
	maxKafkaRequest = 32 << 20
	// maxKafkaConnections is many times what the harness and the tools beside it open.
	maxKafkaConnections = 1000
	// kafkaHead is what is looked at of a request: its length, its key and its version.
	kafkaHead = 8
	// minKafkaRequest is a key, a version and a correlation id.
	minKafkaRequest = 8
)

// kafkaPort is the listener of the Kafka in this process.
type kafkaPort struct {
	net.Listener
	places chan struct{} // one token a connection
}

// listenForKafka is net.Listen for the Kafka in this process.
func listenForKafka(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return &kafkaPort{Listener: l, places: make(chan struct{}, maxKafkaConnections)}, nil
}

// Accept returns the next connection. It fails when the port is closed only: Kafka would stop to listen, also when there
// are just no file descriptors left.
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
			_ = conn.Close() // one too many: there is nobody to tell
		}
	}
}

// kafkaConn is a connection on which requests come in.
type kafkaConn struct {
	net.Conn
	leave func()

	buffer [kafkaHead]byte
	head   []byte // the rest of the head of a request, which was looked at and not read yet
	left   int    // bytes of the request after its head
}

// Read reads of one request at most.
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

// next looks at the head of the next request. After its error the connection is closed.
func (c *kafkaConn) next() error {
	if _, err := io.ReadFull(c.Conn, c.buffer[:]); err != nil {
		return err
	}
	length := binary.BigEndian.Uint32(c.buffer[:])
	key := int16(binary.BigEndian.Uint16(c.buffer[4:]))
	if length < minKafkaRequest || length > maxKafkaRequest || kmsg.RequestForKey(key) == nil {
		return fmt.Errorf("%q begins no request of Kafka", c.buffer)
	}
	c.head, c.left = c.buffer[:], int(length)-(kafkaHead-4)
	return nil
}

// Close ends the connection.
func (c *kafkaConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
