package deadletter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/sql/operations"
)

// Replay sends letters again, only to the consumer that failed.
type Replay struct {
	Journal *Journal
	// Load loads letters with their contents, as Box.Load does.
	Load func(context.Context, []Place) ([]Letter, error)
	// FunctionsURL is the URL of functions, with {consumer} in place of the name.
	FunctionsURL string
	// Token is what functions ask of those who send events; nil if they ask for nothing.
	Token *identity.Token
	// ParkAfter is the number of failed replays of a letter, at least 1, after which it is parked.
	ParkAfter int
	// States are the states whose letters are replayed. A letter that is not open is opened first, which resets its
	// failures.
	States []State
	// Timeout bounds one delivery.
	Timeout time.Duration
	// Grace is how long deliveries go on that are under way when the replay is stopped.
	Grace  time.Duration
	Report Report
}

// placeholder stands for the consumer's name in a URL.
const placeholder = "{consumer}"

// URL returns the URL of a letter's consumer. It fails for a letter without a consumer and for a forged one: the author of a
// record must not choose the target of a POST.
func (r Replay) URL(l Summary) (string, error) {
	if l.Consumer == "" {
		return "", errors.New("it does not say which function failed: discard it")
	}
	if l.Forged {
		return "", fmt.Errorf("no source of the wiring delivers from %q to %q and sets aside here: nothing of ours wrote the letter, or the wiring has changed: discard it",
			oneline.Of(l.Origin.Topic, 64), oneline.Of(l.Consumer, 64))
	}
	return strings.ReplaceAll(r.FunctionsURL, placeholder, l.Consumer), nil
}

// Bounds of what a replay works on together: the deliveries at the same time, which are of different keys, and the letters
// that it has loaded.
const (
	deliveries  = 32
	loaded      = 1000
	loadedBytes = 64 << 20
)

// Run replays letters, several lanes at a time and in order within a lane. It records each delivery before it starts and
// again with its result. After a crash between the two the letter stays open, and replaying it again does no harm, since
// functions dedupe events. A failed letter holds back the later ones of its key for the same consumer, until it is handled or
// parked. If ctx ends, no other delivery starts, and Run returns its error.
func (r Replay) Run(ctx context.Context, letters []Summary) error {
	failed := map[[2]string]bool{}
	for _, lanes := range portions(Lanes(letters)) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var places []Place
		for _, l := range slices.Concat(lanes...) {
			places = append(places, l.Place)
		}
		found, err := r.Load(ctx, places)
		if err != nil {
			return err
		}
		contents := map[Place]Letter{}
		for _, l := range found {
			contents[l.Place] = l
		}
		if err := r.run(ctx, lanes, contents, failed); err != nil {
			return err
		}
	}
	return nil
}

// portions divides lanes into portions that are loaded together. A long lane is spread over several.
func portions(lanes [][]Summary) (all [][][]Summary) {
	var portion [][]Summary
	count, size := 0, 0
	for _, lane := range lanes {
		from := 0
		for i, l := range lane {
			if count > 0 && (count == loaded || size+l.Size > loadedBytes) {
				if from < i {
					portion = append(portion, lane[from:i])
				}
				all, portion, from, count, size = append(all, portion), nil, i, 0, 0
			}
			count, size = count+1, size+l.Size
		}
		portion = append(portion, lane[from:])
	}
	if portion != nil {
		all = append(all, portion)
	}
	return all
}

// sending is a letter that is delivered.
type sending struct {
	letter Letter
	url    string
	// correction is the corrected value that is delivered, nil for the original.
	correction *Correction

	status int
	detail string
	err    error
}

// run replays lanes: in each round the next letter of several lanes. A lane that has ended makes room for another one.
func (r Replay) run(ctx context.Context, lanes [][]Summary, contents map[Place]Letter, failed map[[2]string]bool) (err error) {
	var active [][]Summary
	defer func() { err = errors.Join(err, r.Journal.release(ctx, active)) }()
	for {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if n := min(deliveries-len(active), len(lanes)); n > 0 {
			claimed, err := r.Journal.claim(ctx, lanes[:n], r.States, r.Report)
			if err != nil {
				return err
			}
			active, lanes = append(active, claimed...), lanes[n:]
		}
		if len(active) == 0 && len(lanes) == 0 {
			return nil
		}
		var round []*sending
		var ended, going [][]Summary
		for _, lane := range active {
			s, rest := r.next(lane, contents, failed)
			if s != nil {
				round = append(round, s)
			}
			if len(rest) == 0 {
				ended = append(ended, lane)
			} else {
				going = append(going, rest)
			}
		}
		if err := r.deliver(ctx, round, failed); err != nil {
			return err
		}
		active = going
		if err := r.Journal.release(ctx, ended); err != nil {
			return err
		}
	}
}

// next returns the next letter of a lane that can be delivered, nil if there is none, and the letters after it. It reports
// those that cannot.
func (r Replay) next(lane []Summary, contents map[Place]Letter, failed map[[2]string]bool) (*sending, []Summary) {
	for i, l := range lane {
		if failed[[2]string{l.lane(), l.Consumer}] {
			r.Report(l, HeldBack, "an earlier letter of its key failed for "+l.Consumer)
			continue
		}
		full, ok := contents[l.Place]
		ok = ok && full.isAbout(l.identity()) // otherwise the topic was recreated since it was found
		full.State, full.Failures = l.State, l.Failures
		url, result, err := r.target(full, ok)
		if err != nil {
			r.Report(l, result, err.Error())
			continue
		}
		return &sending{letter: full, url: url}, lane[i+1:]
	}
	return nil, nil
}

// target returns the URL of a letter that can be replayed, or the result of one that cannot, with the reason. Only what the
// record itself says counts.
func (r Replay) target(l Letter, exists bool) (string, Result, error) {
	if !exists {
		return "", Gone, errors.New("its topic no longer keeps it")
	}
	url, err := r.URL(l.Summary)
	switch {
	case err != nil && l.Forged:
		return "", Refused, err
	case err != nil:
		return "", Nowhere, err
	case l.Cut != "":
		return "", NotWhole, fmt.Errorf("the record is %s, for as long as its topic keeps it", l.Origin)
	default:
		return url, Done, nil
	}
}

// deliver sends the letters of a round at the same time, and records each before and after.
func (r Replay) deliver(ctx context.Context, round []*sending, failed map[[2]string]bool) error {
	if len(round) == 0 {
		return nil
	}
	if err := r.begin(ctx, round); err != nil {
		return err
	}
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(r.Grace, cancel) })()
	var sent sync.WaitGroup
	for _, s := range round {
		sent.Go(func() { s.status, s.detail, s.err = r.post(lasting, s.url, s.letter.Event) })
	}
	sent.Wait()
	return r.finish(ctx, round, failed)
}

// begin records the beginning of deliveries.
func (r Replay) begin(ctx context.Context, round []*sending) error {
	var actions []operations.InsertLetterActionParams
	for _, s := range round {
		l := &s.letter
		if s.correction != nil {
			if err := r.Journal.recordCorrection(ctx, *l, *s.correction); err != nil {
				return err
			}
		}
		if l.State != Open {
			l.Failures = 0
			actions = append(actions, r.Journal.action(l.Summary, operations.DeadLetterActionsActionREOPENED, nil, "was "+string(l.State)))
		}
		actions = append(actions, r.Journal.action(l.Summary, operations.DeadLetterActionsActionREPLAYSTARTED, nil, s.note()+"to "+s.url))
	}
	return r.Journal.record(ctx, actions)
}

// finish records and reports the results of deliveries.
func (r Replay) finish(ctx context.Context, round []*sending, failed map[[2]string]bool) error {
	var actions []operations.InsertLetterActionParams
	var reports []func()
	var errs []error
	for _, s := range round {
		l := &s.letter
		if s.err != nil && ctx.Err() != nil {
			reports = append(reports, func() {
				r.Report(l.Summary, Unclear, "the replay was stopped before the answer came: it stays open")
			})
			continue
		}
		if s.err != nil {
			errs = append(errs, fmt.Errorf("replay %s to %s: %w", l.Place, s.url, s.err))
			continue
		}
		var answered *int
		if s.status != 0 {
			answered = &s.status
		}
		result, explained := Done, fmt.Sprintf("%s answered %d", l.Consumer, s.status)
		if delivery.Judge(s.status) == delivery.Acknowledge {
			actions = append(actions, r.Journal.action(l.Summary, operations.DeadLetterActionsActionREPLAYED, answered, s.note()+s.detail))
		} else {
			l.Failures++
			actions = append(actions, r.Journal.action(l.Summary, operations.DeadLetterActionsActionREPLAYFAILED, answered, s.detail))
			result, explained = Failed, fmt.Sprintf("failure %d of %d: %d %s", l.Failures, r.ParkAfter, s.status, s.detail)
			failed[[2]string{l.lane(), l.Consumer}] = l.Failures < r.ParkAfter
			if l.Failures >= r.ParkAfter {
				result = GaveUp
				actions = append(actions, r.Journal.action(l.Summary, operations.DeadLetterActionsActionPARKED, nil, fmt.Sprintf("%d replays failed", l.Failures)))
			}
		}
		reports = append(reports, func() { r.Report(l.Summary, result, explained) })
	}
	if err := r.Journal.record(ctx, actions); err != nil {
		for _, s := range round {
			r.Report(s.letter.Summary, Unclear, "it was sent, and its result could not be recorded: it stays open, and another replay does no harm")
		}
		return errors.Join(append(errs, err)...)
	}
	for _, report := range reports {
		report()
	}
	// One is enough: they say the same, of other letters.
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}
