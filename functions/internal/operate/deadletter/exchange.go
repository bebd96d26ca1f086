package deadletter

import (
	"errors"
	"io"
	"net"
	"net/http"

	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/functions/internal/web/direct"
)

// client follows no redirect: to a source that is an answer like any other.
var client = &http.Client{
	Transport:     transport(),
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// transport keeps the connections of all deliveries.
func transport() *http.Transport {
	t := direct.Transport()
	t.MaxIdleConnsPerHost = deliveries
	return t
}

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 1024

// exchange sends a request and returns the status, and the beginning of the answer's body on one line. refused is whether the
// answer asks for another token: functions say so with a 503, see identity.Sources.
func exchange(request *http.Request) (status int, detail string, refused bool, err error) {
	response, err := client.Do(request)
	if err != nil {
		return 0, "", false, err
	}
	defer func() { _ = response.Body.Close() }() // it was read, or is not wanted
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return 0, "", false, err
	}
	return response.StatusCode, oneline.Of(string(text), maxAnswer), response.Header.Get("WWW-Authenticate") != "", nil
}

// dialing returns whether err came before there was a connection: the function has not seen the request.
func dialing(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
