package functiontest

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Abuse sends the function at url, in the process pid, requests that must not kill its CloudEvents reader: a ce- header
// without a name, and four concurrent bodies of 300 MB, two of them in chunks.
func Abuse(t testing.TB, url string, pid int) {
	t.Helper()
	post := func(body io.Reader, length int64, header string) (int, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
		if err != nil {
			return 0, err
		}
		for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Type": "a", "Ce-Source": "/x", header: "x"} {
			r.Header.Set(name, value)
		}
		r.ContentLength = length
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0, err
		}
		return response.StatusCode, response.Body.Close()
	}
	status, err := post(strings.NewReader("{}"), 2, "Ce-")
	require.NoError(t, err)
	assert.Equal(t, http.StatusBadRequest, status, "a header without a name")

	const size = 300 << 20
	before := peakMemory(t, pid)
	Concurrently(4, func(i int) {
		length := int64(size)
		if i%2 == 0 {
			length = -1
		}
		status, err := post(io.LimitReader(blanks{}, size), length, "Ce-X")
		if err == nil { // else it was cut off before the answer was read
			assert.Equal(t, http.StatusRequestEntityTooLarge, status)
		}
	})
	assert.Less(t, peakMemory(t, pid)-before, 100<<10, "KiB more than before")
}

type blanks struct{}

func (blanks) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// peakMemory returns the highest memory use of a process, in KiB; 0 except on Linux.
func peakMemory(t testing.TB, pid int) (kib int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	_, err = fmt.Sscan(peak, &kib)
	require.NoError(t, err)
	return kib
}
