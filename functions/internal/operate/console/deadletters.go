package console

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/operate/deadletter"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/operations"
)

// Bounds of reading and replaying.
const (
	newestLetters = 200 // of each partition
	parkAfter     = 3   // failed replays
	replayWithin  = 30 * time.Second
	changeWithin  = 2 * time.Minute // of one request
	shownValue    = 256 << 10       // bytes of a value on a page
	shownHeader   = 4 << 10         // bytes of a header
)

// letterLine is a letter in a list.
type letterLine struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	State     string `json:"state"`
	Failures  int    `json:"failures"`
	Consumer  string `json:"consumer"`
	Forged    bool   `json:"forged"`
	Key       string `json:"key"`
	EventType string `json:"eventType"`
	EventID   string `json:"eventId"`
	Attempts  int    `json:"attempts"`
	Status    int    `json:"status"`
	Error     string `json:"error"`
	At        string `json:"at"`
}

func newLetterLine(l deadletter.Letter) letterLine {
	return letterLine{
		Topic: l.Topic, Partition: l.Partition, Offset: l.Offset, State: string(l.State), Failures: l.Failures,
		Consumer: begin(l.Consumer, shownHeader), Forged: l.Forged, Key: begin(l.Key, shownHeader), EventType: begin(l.Event.Type(), shownHeader),
		EventID: begin(l.Event.ID(), shownHeader), Attempts: l.Attempts, Status: l.Status, Error: begin(l.Error, shownHeader), At: moment(l.At),
	}
}

// begin cuts untrusted text to its first letters, at most so many bytes.
func begin(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "…"
}

// letterPage is a whole letter.
type letterPage struct {
	letterLine
	Origin  string            `json:"origin,omitempty"`
	Cut     string            `json:"cut,omitempty"`
	Headers map[string]string `json:"headers"`
	// Value is the beginning of the record's value, which has Size bytes; Shortened is whether there is more.
	Value     string `json:"value"`
	Size      int    `json:"size"`
	Shortened bool   `json:"shortened"`
	// Base64 is whether the value is not text.
	Base64  bool     `json:"base64"`
	Actions []action `json:"actions"`
}

// withBox works on the letters. Handlers answer after it, so that a slow client blocks nothing.
func (c *Console) withBox(ctx context.Context, actor string, do func(deadletter.Box) error) error {
	return c.withReader(ctx, func(reader *kafka.Reader) error {
		journal, err := deadletter.OpenJournal(ctx, c.operations, actor)
		if err != nil {
			return err
		}
		return errors.Join(do(deadletter.Box{Reader: reader, Sources: c.o.Wiring.Sources, Journal: journal}), journal.Close())
	})
}

// readLetters reads the newest letters of a state, newest first, and the last actions.
func (c *Console) readLetters(ctx context.Context, state deadletter.State) (any, error) {
	answer := struct {
		Letters []letterLine `json:"letters"`
		More    bool         `json:"more"`
		Actions []action     `json:"actions"`
	}{Letters: []letterLine{}, Actions: []action{}}
	var found []deadletter.Letter
	err := c.withBox(ctx, "", func(box deadletter.Box) (err error) {
		found, err = box.Find(ctx, deadletter.Selector{States: []deadletter.State{state}, Newest: newestLetters})
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(found, func(a, b deadletter.Letter) int { return b.At.Compare(a.At) })
	answer.More = len(found) > maxRows
	for _, l := range found[:min(len(found), maxRows)] {
		answer.Letters = append(answer.Letters, newLetterLine(l))
	}
	rows, err := operations.New(c.operations).ListLastLetterActions(ctx, maxActions)
	if err != nil {
		return nil, fmt.Errorf("list the actions on dead letters: %w", err)
	}
	for _, a := range rows {
		answer.Actions = append(answer.Actions, newAction(a))
	}
	return answer, nil
}

func newAction(a operations.DeadLetterAction) action {
	done := action{
		At: moment(a.At), Actor: a.Actor, Action: string(a.Action), Detail: a.Detail,
		What: fmt.Sprintf("%s/%d/%d", a.Topic, a.KafkaPartition, a.KafkaOffset),
	}
	if a.Status != nil {
		done.Result = strconv.Itoa(*a.Status)
	}
	return done
}

// place is the position of a letter.
type place struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// find reads the letter at a place; its error is a *rest.Problem if there is none.
func (c *Console) find(ctx context.Context, box deadletter.Box, p place) (deadletter.Letter, error) {
	if !slices.ContainsFunc(c.topology.Handles, func(h handling) bool { return c.o.TopicPrefix+h.DeadLetter == p.Topic }) {
		return deadletter.Letter{}, rest.NewProblem(http.StatusNotFound, "this topic has no dead letters")
	}
	found, err := box.Find(ctx, deadletter.Selector{Topic: p.Topic, Partition: &p.Partition, Offset: &p.Offset})
	if err != nil {
		return deadletter.Letter{}, err
	}
	if len(found) == 0 {
		return deadletter.Letter{}, rest.NewProblem(http.StatusNotFound, "no such letter")
	}
	return found[0], nil
}

// serveLetter answers GET /console/deadletters/{topic}/{partition}/{offset} with a whole letter.
func (c *Console) serveLetter(w http.ResponseWriter, r *http.Request) error {
	partition, err := strconv.ParseInt(r.PathValue("partition"), 10, 32)
	offset, err2 := strconv.ParseInt(r.PathValue("offset"), 10, 64)
	if err != nil || err2 != nil {
		return rest.NotFound(w, r)
	}
	var l deadletter.Letter
	err = c.withBox(r.Context(), "", func(box deadletter.Box) (err error) {
		l, err = c.find(r.Context(), box, place{r.PathValue("topic"), int32(partition), offset})
		return err
	})
	if err != nil {
		return err
	}
	return rest.JSON(w, http.StatusOK, newLetterPage(l))
}

func newLetterPage(l deadletter.Letter) letterPage {
	value := l.Record.Value
	page := letterPage{letterLine: newLetterLine(l), Headers: map[string]string{}, Size: len(value), Shortened: len(value) > shownValue, Cut: l.Cut, Actions: []action{}}
	if l.Origin.Offset >= 0 {
		page.Origin = l.Origin.String()
	}
	if utf8.Valid(value) {
		page.Value = begin(string(value), shownValue)
	} else {
		page.Base64, page.Value = true, base64.StdEncoding.EncodeToString(value[:min(len(value), shownValue)])
	}
	for _, h := range l.Record.Headers {
		page.Headers[begin(string(h.Key), shownHeader)] = begin(string(h.Value), shownHeader)
	}
	for _, a := range l.History {
		page.Actions = append(page.Actions, newAction(a))
	}
	return page
}

// lettersRequest is an action on letters.
type lettersRequest struct {
	command
	Letters []place `json:"letters"`
}

// changeLetters answers POST /console/deadletters: it replays, parks or discards letters, or says what would happen to them.
func (c *Console) changeLetters(w http.ResponseWriter, r *http.Request) error {
	var asked lettersRequest
	if err := decode(w, r, &asked); err != nil {
		return err
	}
	if err := asked.check(len(asked.Letters), "replay", "park", "discard"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), changeWithin)
	defer cancel()
	results := []result{}
	var found []deadletter.Letter
	who := actor(r, asked.Actor)
	err := c.withBox(ctx, who, func(box deadletter.Box) error {
		for _, p := range asked.Letters {
			l, err := c.find(ctx, box, p)
			if err != nil {
				return err
			}
			found = append(found, l)
		}
		return nil
	})
	if err != nil {
		return err
	}
	replay := deadletter.Replay{
		FunctionsURL: c.o.FunctionsURL, ParkAfter: parkAfter,
		States: []deadletter.State{deadletter.Open, deadletter.Parked}, Timeout: replayWithin,
	}
	if asked.DryRun {
		for _, l := range slices.Concat(deadletter.Lanes(found)...) {
			results = append(results, wouldBe(asked.command, l, replay))
		}
		return rest.JSON(w, http.StatusOK, results)
	}
	err = c.carryOut(ctx, who, asked.command, found, replay, func(l deadletter.Letter, came deadletter.Result, detail string) {
		text := string(came)
		if came == deadletter.Done {
			text = asked.done()
		}
		if detail != "" {
			text += ": " + detail
		}
		results = append(results, result{l.String(), came == deadletter.Done, text})
	})
	c.hub.refresh("deadletters")
	if err != nil {
		results = append(results, result{What: "the rest", Detail: err.Error()})
	}
	return rest.JSON(w, http.StatusOK, results)
}

// carryOut does it. It holds no reader of topics, so that other pages do not wait for a function.
func (c *Console) carryOut(ctx context.Context, who string, asked command, found []deadletter.Letter, replay deadletter.Replay, report deadletter.Report) (err error) {
	journal, err := deadletter.OpenJournal(ctx, c.operations, who)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	switch asked.Action {
	case "park":
		return journal.Park(ctx, found, asked.Reason, report)
	case "discard":
		return journal.Discard(ctx, found, asked.Reason, report)
	default:
		replay.Journal, replay.Report = journal, report
		return replay.Run(ctx, found)
	}
}

// wouldBe says what would happen to a letter.
func wouldBe(asked command, l deadletter.Letter, replay deadletter.Replay) result {
	allowed := map[string][]deadletter.State{
		"replay": replay.States, "park": {deadletter.Open}, "discard": {deadletter.Open, deadletter.Parked},
	}[asked.Action]
	if !slices.Contains(allowed, l.State) {
		return result{What: l.String(), Detail: "it is " + string(l.State)}
	}
	if asked.Action != "replay" {
		return result{l.String(), true, asked.done()}
	}
	to, err := replay.URL(l)
	if err != nil {
		return result{What: l.String(), Detail: err.Error()}
	}
	return result{l.String(), true, "would be sent to " + to}
}
