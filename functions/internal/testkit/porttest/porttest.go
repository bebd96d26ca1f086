// Package porttest finds ports for the servers of tests, below the range of outgoing connections.
package porttest

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// The servers of CI have ports from 23000 on. One that takes long to start would else find a test on its port, and whoever waits for
// the server would take the test for it.
const lowest, highest = 20000, 22999

// Try calls listen with one port after another until it succeeds. No other test, in any process, gets that port before this
// one ends, even while it has no listener.
func Try(t testing.TB, listen func(port int) error) {
	t.Helper()
	var err error
	for range 50 {
		if err = take(t, lowest+rand.N(highest-lowest+1), listen); err == nil {
			return
		}
	}
	require.NoError(t, err, "no port could be had")
}

// take reserves a port by binding the UDP port of the same number, which no test uses.
func take(t testing.TB, port int, listen func(port int) error) error {
	t.Helper()
	reserved, err := net.ListenPacket("udp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	if err := listen(port); err != nil {
		return errors.Join(err, reserved.Close())
	}
	t.Cleanup(func() { _ = reserved.Close() }) // it has sent nothing
	return nil
}

// Address returns an address on 127.0.0.1 without a listener, until the test or what it starts listens there.
func Address(t testing.TB) string {
	t.Helper()
	var address string
	Try(t, func(port int) error {
		address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		return listener.Close()
	})
	return address
}
