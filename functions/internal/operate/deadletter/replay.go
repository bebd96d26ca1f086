package deadletter

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/functions/internal/web/httpbinding"
	"example.com/orders/sql/operations"
)

// Replay sends letters again, only to the consumer that failed.
type Replay struct {
	Journal *Journal
	// FunctionsURL is the URL of functions, with {consumer} in place of the name.
	FunctionsURL string
	// ParkAfter is the number of failed replays of a letter, at least 1, after which it is parked.
	ParkAfter int
	// States are the states whose letters are replayed. A letter that is not open is opened first, which resets its
	// failures.
	States []State
	// Timeout bounds one delivery.
	Timeout time.Duration
	Report  Report
}

// placeholder stands for the consumer's name in a URL.
const placeholder = "{consumer}"

// URL returns the URL of a letter's consumer. It fails for a letter without a consumer and for a forged one: the author of a
// record must not choose the target of a POST.
func (r Replay) URL(l Letter) (string, error) {
	if l.Consumer == "" {
		return "", errors.New("it does not say which function failed: discard it")
	}
	if l.Forged {
		return "", fmt.Errorf("no source of the wiring delivers from %q to %q and sets aside here: nothing of ours wrote the letter, or the wiring has changed: discard it",
			oneline.Of(l.Origin.Topic, 64), oneline.Of(l.Consumer, 64))
	}
	return strings.ReplaceAll(r.FunctionsURL, placeholder, l.Consumer), nil
}

// ErrUnreachable means that a consumer cannot be reached, or says that it cannot work now. That is not the letter's fault:
// no failure is counted, and the replay ends.
var ErrUnreachable = errors.New("the function cannot be reached")

// Run replays letters, lane by lane. It records each delivery before it starts and again with its result. After a crash
// between the two the letter stays open, and replaying it again does no harm, since functions dedupe events. A failed letter
// holds back the later ones of its key for the same consumer, until it is handled or parked.
func (r Replay) Run(ctx context.Context, letters []Letter) error {
	for _, lane := range Lanes(letters) {
		failed := map[string]bool{}
		err := r.Journal.alone(ctx, lane, r.States, r.Report, func(l Letter) error {
			if failed[l.Consumer] {
				r.Report(l, HeldBack, "an earlier letter of its key failed for "+l.Consumer)
				return nil
			}
			result, err := r.one(ctx, l)
			failed[l.Consumer] = result == Failed
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r Replay) one(ctx context.Context, l Letter) (Result, error) {
	url, err := r.URL(l)
	if err != nil {
		result := Nowhere
		if l.Forged {
			result = Refused
		}
		r.Report(l, result, err.Error())
		return result, nil
	}
	if l.Cut != "" {
		r.Report(l, NotWhole, "the record is "+l.Origin.String()+", for as long as its topic keeps it")
		return NotWhole, nil
	}
	if l.State != Open {
		l.Failures = 0
		if err := r.Journal.record(ctx, l, operations.DeadLetterActionsActionREOPENED, nil, "was "+string(l.State)); err != nil {
			return "", err
		}
	}
	if err := r.Journal.record(ctx, l, operations.DeadLetterActionsActionREPLAYSTARTED, nil, "to "+url); err != nil {
		return "", err
	}
	status, detail, err := r.post(ctx, url, l.Event)
	if err != nil {
		return "", fmt.Errorf("replay %s to %s: %w", l.Place, url, err)
	}
	var answered *int
	if status != 0 {
		answered = &status
	}
	if delivery.Judge(status) == delivery.Acknowledge {
		if err := r.Journal.record(ctx, l, operations.DeadLetterActionsActionREPLAYED, answered, detail); err != nil {
			return "", err
		}
		r.Report(l, Done, fmt.Sprintf("%s answered %d", l.Consumer, status))
		return Done, nil
	}
	l.Failures++
	if err := r.Journal.record(ctx, l, operations.DeadLetterActionsActionREPLAYFAILED, answered, detail); err != nil {
		return "", err
	}
	explained := fmt.Sprintf("failure %d of %d: %d %s", l.Failures, r.ParkAfter, status, detail)
	if l.Failures < r.ParkAfter {
		r.Report(l, Failed, explained)
		return Failed, nil
	}
	if err := r.Journal.record(ctx, l, operations.DeadLetterActionsActionPARKED, nil, fmt.Sprintf("%d replays failed", l.Failures)); err != nil {
		return "", err
	}
	r.Report(l, GaveUp, explained)
	return GaveUp, nil
}

// post delivers an event and returns the answer; the status is 0 without an answer in time. Its error wraps ErrUnreachable
// if the function is missing or cannot work, whatever the event.
func (r Replay) post(ctx context.Context, url string, e event.Event) (status int, detail string, err error) {
	bounded, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	request, err := httpbinding.NewRequest(bounded, url, e)
	if err != nil {
		return 0, "", fmt.Errorf("build the request: %w", err)
	}
	status, detail, err = exchange(request)
	switch {
	case err != nil && ctx.Err() == nil && (bounded.Err() != nil || os.IsTimeout(err)) && !dialing(err):
		return 0, fmt.Sprintf("no answer within %s", r.Timeout), nil
	case err != nil:
		return 0, "", fmt.Errorf("%w: %w", ErrUnreachable, err)
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
	status, detail, err := exchange(request)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if status >= http.StatusInternalServerError {
		return fmt.Errorf("%w: it is not ready: %d %s", ErrUnreachable, status, detail)
	}
	return nil
}
