package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// terminal opens a terminal of a width; what is written to it can be read from screen.
func terminal(t *testing.T, columns int) (tty, screen *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	fd := int(screen.Fd())
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: uint16(columns)}))
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tty.Close() })
	return tty, screen
}

func TestOnATerminalTablesAndReportsFit(t *testing.T) {
	const columns = 70
	tty, screen := terminal(t, columns)
	row, flush := table(tty, "KEY", "ERROR")
	row("a", strings.Repeat("long ", 30))
	require.NoError(t, flush())
	require.NoError(t, folded(tty, func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Repeat("report ", 30)+"\nend\n")
		return err
	}))

	shown := ""
	for buffer := make([]byte, 4096); !strings.Contains(shown, "end\r\n"); {
		n, err := screen.Read(buffer)
		require.NoError(t, err, shown)
		shown += string(buffer[:n])
	}
	for line := range strings.Lines(shown) {
		assert.LessOrEqual(t, utf8.RuneCountInString(strings.TrimRight(line, "\r\n")), columns, line)
	}
	assert.Contains(t, shown, "--json has all of it")
	assert.Equal(t, 30, strings.Count(shown, "report"))
}
