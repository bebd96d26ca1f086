package secret

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
)

// Masked returns a text of somebody else, such as a server's answer, without a secret that this process has sent there: by
// itself, and with the user of HTTP's basic authentication. Careless servers repeat what they do not accept.
func Masked(text, user, secret string) string {
	if secret == "" {
		return text
	}
	const mask = "[secret]"
	text = strings.ReplaceAll(text, secret, mask)
	return strings.ReplaceAll(text, base64.StdEncoding.EncodeToString([]byte(user+":"+secret)), mask)
}

// maxError is how much is kept of an answer that is an error, in bytes.
const maxError = 64 << 10

// Masking is a transport that masks a secret in the answers that are errors, whose texts get into logs.
type Masking struct {
	http.RoundTripper
	User, Secret string
}

// RoundTrip implements http.RoundTripper.
func (m Masking) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := m.RoundTripper.RoundTrip(request)
	if err != nil || response.StatusCode < http.StatusBadRequest {
		return response, err
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxError))
	_ = response.Body.Close() // what was read is what there is to report
	if err != nil {
		return nil, err
	}
	masked := Masked(string(text), m.User, m.Secret)
	response.Body, response.ContentLength = io.NopCloser(bytes.NewBufferString(masked)), int64(len(masked))
	return response, nil
}
