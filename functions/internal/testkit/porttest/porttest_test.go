package porttest

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAPortWithoutAListenerYetIsTaken(t *testing.T) {
	_, text, err := net.SplitHostPort(Address(t))
	require.NoError(t, err)
	port, err := strconv.Atoi(text)
	require.NoError(t, err)
	assert.Error(t, take(t, port, func(int) error { return nil }))
}
