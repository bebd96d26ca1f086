package porttest

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
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

func TestServersOfCIHaveOtherPorts(t *testing.T) {
	scripts, err := filepath.Glob(filepath.Join("..", "..", "..", "..", ".ci", "services", "*"))
	require.NoError(t, err)
	scripts = append(scripts, filepath.Join("..", "..", "..", "..", ".ci", "run"))
	number := regexp.MustCompile(`(?i)port=(?:\$\{\w+:-)?([0-9]{5})\b`)
	var found int
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		require.NoError(t, err)
		for _, match := range number.FindAllSubmatch(text, -1) {
			port, err := strconv.Atoi(string(match[1]))
			require.NoError(t, err)
			assert.Greater(t, port, highest, "%s: %s", script, match[0])
			found++
		}
	}
	assert.GreaterOrEqual(t, found, 9, "the ports of the servers")
}
