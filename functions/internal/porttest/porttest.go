// Package porttest finds ports for the servers of tests: below the range from which outgoing connections take theirs.
package porttest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

const lowest, highest = 20000, 31999

// Try calls listen with one port after another until it succeeds.
func Try(t testing.TB, listen func(port int) error) {
	t.Helper()
	var err error
	for range 50 {
		if err = listen(lowest + rand.N(highest-lowest)); err == nil {
			return
		}
	}
	require.NoError(t, err, "no port could be had")
}

// Address returns an address on 127.0.0.1 on which nobody listens at this moment.
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
