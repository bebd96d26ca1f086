package deadletter

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/web/httpbinding"
)

// ErrUnreachable means that a consumer cannot be reached, or says that it cannot work now. That is not the letter's fault:
// no failure is counted, and the replay ends.
var ErrUnreachable = errors.New("the function cannot be reached")

// post delivers an event and returns the answer; the status is 0 without an answer in time. Its error wraps ErrUnreachable
// if the function is missing, cannot work or refuses the token, whatever the event.
func (r Replay) post(ctx context.Context, url string, e event.Event) (status int, detail string, err error) {
	bounded, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	request, err := httpbinding.NewRequest(bounded, url, e)
	if err != nil {
		return 0, "", fmt.Errorf("build the request: %w", err)
	}
	r.Token.Authorize(request)
	status, detail, refused, err := exchange(request)
	switch {
	case err != nil && ctx.Err() == nil && (bounded.Err() != nil || os.IsTimeout(err)) && !dialing(err):
		return 0, fmt.Sprintf("no answer within %s", r.Timeout), nil
	case err != nil:
		return 0, "", fmt.Errorf("%w: %w", ErrUnreachable, err)
	case refused:
		return 0, "", fmt.Errorf("%w without its token: set FUNCTIONS_TOKEN or FUNCTIONS_TOKEN_FILE: %s", ErrUnreachable, detail)
	case slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusBadGateway, http.StatusGatewayTimeout}, status):
		// A function never answers these; something in front of it does.
		return 0, "", fmt.Errorf("%w: the answer is %d %s", ErrUnreachable, status, detail)
	case status >= http.StatusInternalServerError:
		if err := ready(bounded, url); err != nil {
			return 0, "", err
		}
	}
	return status, detail, nil
}

// ready checks whether a function can work at all, by the readiness path of func's runtime.
func ready(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/health/readiness", nil)
	if err != nil {
		return fmt.Errorf("build the request: %w", err)
	}
	status, detail, _, err := exchange(request)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if status >= http.StatusInternalServerError {
		return fmt.Errorf("%w: it is not ready: %d %s", ErrUnreachable, status, detail)
	}
	return nil
}
