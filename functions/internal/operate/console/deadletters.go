package console

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/operate/deadletter"
	"example.com/orders/functions/internal/web/rest"
	"example.com/orders/sql/operations"
)

// Bounds of the pages of letters.
const (
	lettersPerPage = 50
	maxGroups      = 50
	maxPage        = 1_000_000
	shownValue     = 256 << 10 // bytes of a value on a page
	shownHeader    = 4 << 10   // bytes of a header
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
	Group     string `json:"group"`
	At        string `json:"at"`
}

func newLetterLine(l deadletter.Summary) letterLine {
	return letterLine{
		Topic: l.Topic, Partition: l.Partition, Offset: l.Offset, State: string(l.State), Failures: l.Failures,
		Consumer: begin(l.Consumer, shownHeader), Forged: l.Forged, Key: begin(l.Key, shownHeader), EventType: begin(l.EventType, shownHeader),
		EventID: begin(l.EventID, shownHeader), Attempts: l.Attempts, Status: l.Status, Error: begin(l.Error, shownHeader),
		Group: deadletter.GroupOf(l), At: moment(l.At),
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

// indexed is the index of the letters. Views share it: it is brought up to date at most once in a while.
type indexed struct {
	*deadletter.Index

	mu sync.Mutex // serialises the refreshes
}

// indexedWithin is how old the index may be for a page.
const indexedWithin = time.Second

// refreshLetters brings the index up to date, unless it is not older than within.
func (c *Console) refreshLetters(ctx context.Context, within time.Duration) error {
	c.letters.mu.Lock()
	defer c.letters.mu.Unlock()
	if c.letters.Age() < within {
		return nil
	}
	return c.withReader(ctx, func(reader *kafka.Reader) error { return c.letters.Refresh(ctx, reader, c.operations) })
}

// readOpenLetters counts the open letters, for the navigation.
func (c *Console) readOpenLetters(ctx context.Context) (any, error) {
	if err := c.refreshLetters(ctx, indexedWithin); err != nil {
		return nil, err
	}
	return struct {
		Open int `json:"open"`
	}{c.letters.Count(deadletter.Open)}, nil
}

// letterQuery is the part of the letters that a page shows, as the parameters of its address.
type letterQuery struct {
	deadletter.Filter

	page int // from 1
}

// parseLetterQuery reads the parameters of an address.
func parseLetterQuery(text string) (q letterQuery, ok bool) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return q, false
	}
	q.page = 1
	for name, all := range values {
		value := all[0]
		if len(all) != 1 || len(value) > shownHeader {
			return q, false
		}
		switch name {
		case "state":
			q.State = deadletter.State(value)
			if value != "" && !slices.Contains(deadletter.States, q.State) {
				return q, false
			}
		case "function":
			q.Consumer = value
		case "group":
			q.Group = value
		case "topic":
			q.Topic = value
		case "key":
			q.Key = value
		case "page":
			if q.page, err = strconv.Atoi(value); err != nil || q.page < 1 || q.page > maxPage {
				return q, false
			}
		default:
			return q, false
		}
	}
	return q, true
}

// letterGroup is the letters that a function failed to handle in the same way.
type letterGroup struct {
	ID       string `json:"id"`
	Consumer string `json:"consumer"`
	Error    string `json:"error"`
	Count    int    `json:"count"`
	First    string `json:"first"`
	Last     string `json:"last"`
}

// letterList is a page of letters, the newest first.
type letterList struct {
	Letters   []letterLine             `json:"letters"`
	Total     int                      `json:"total"`
	Page      int                      `json:"page"`
	Pages     int                      `json:"pages"`
	States    map[deadletter.State]int `json:"states"`
	Groups    []letterGroup            `json:"groups"`
	AllGroups int                      `json:"allGroups"`
	Consumers []string                 `json:"consumers"`
	// Beyond is the number of older letters that the console leaves out.
	Beyond  int64    `json:"beyond"`
	Actions []action `json:"actions"`
}

// readLetters reads a page of letters, and the last actions.
func (c *Console) readLetters(ctx context.Context, q letterQuery) (any, error) {
	if err := c.refreshLetters(ctx, indexedWithin); err != nil {
		return nil, err
	}
	page := c.letters.Page(q.Filter, (q.page-1)*lettersPerPage, lettersPerPage)
	list := letterList{
		Letters: []letterLine{}, Total: page.Total, Page: q.page, Pages: max(1, (page.Total+lettersPerPage-1)/lettersPerPage), States: page.States,
		Groups: []letterGroup{}, AllGroups: len(page.Groups), Consumers: append([]string{}, page.Consumers...), Beyond: page.Beyond, Actions: []action{},
	}
	for _, l := range page.Letters {
		list.Letters = append(list.Letters, newLetterLine(l))
	}
	for _, g := range page.Groups[:min(len(page.Groups), maxGroups)] {
		list.Groups = append(list.Groups, letterGroup{g.ID, g.Consumer, g.Pattern, g.Count, moment(g.First), moment(g.Last)})
	}
	rows, err := operations.New(c.operations).ListLastLetterActions(ctx, maxActions)
	if err != nil {
		return nil, fmt.Errorf("list the actions on dead letters: %w", err)
	}
	for _, a := range rows {
		list.Actions = append(list.Actions, newAction(a))
	}
	return list, nil
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

// letterPage is a whole letter.
type letterPage struct {
	letterLine
	Origin string `json:"origin,omitempty"`
	Cut    string `json:"cut,omitempty"`
	// OrderID is the order that the letter is about, empty if its key is not the id of an order.
	OrderID string `json:"orderId,omitempty"`
	// TraceID is that of its flow, and TraceURL where the trace is shown, if that is known.
	TraceID  string            `json:"traceId,omitempty"`
	TraceURL string            `json:"traceUrl,omitempty"`
	Headers  map[string]string `json:"headers"`
	// Value is the beginning of the record's value, which has Size bytes; Shortened is whether there is more.
	Value     string `json:"value"`
	Size      int    `json:"size"`
	Shortened bool   `json:"shortened"`
	// Base64 is whether the value is not text.
	Base64      bool         `json:"base64"`
	Actions     []action     `json:"actions"`
	Corrections []correction `json:"corrections"`
	// Alike are other letters of its group, the newest first.
	Alike []letterLine `json:"alike"`
}

// maxAlike bounds the letters that a letter can be compared with.
const maxAlike = 20

// correction is a corrected copy that was sent, by its beginning.
type correction struct {
	At        string `json:"at"`
	Actor     string `json:"actor"`
	Reason    string `json:"reason"`
	Original  string `json:"original"`
	Corrected string `json:"corrected"`
}

// place is the position of a letter.
type place struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// load loads letters with their contents.
func (c *Console) load(ctx context.Context, places []deadletter.Place) (letters []deadletter.Letter, err error) {
	err = c.withReader(ctx, func(reader *kafka.Reader) error {
		letters, err = deadletter.Box{Reader: reader, Sources: c.o.Wiring.Sources, Operations: c.operations, Avro: c.o.Avro}.Load(ctx, places)
		return err
	})
	return letters, err
}

// loadOne loads the letter at a place; its error is a *rest.Problem if there is none.
func (c *Console) loadOne(ctx context.Context, p place) (deadletter.Letter, error) {
	if !slices.ContainsFunc(c.topology.Handles, func(h handling) bool { return c.o.TopicPrefix+h.DeadLetter == p.Topic }) {
		return deadletter.Letter{}, rest.NewProblem(http.StatusNotFound, "this topic has no dead letters")
	}
	letters, err := c.load(ctx, []deadletter.Place{deadletter.Place(p)})
	if err != nil {
		return deadletter.Letter{}, err
	}
	if len(letters) == 0 {
		return deadletter.Letter{}, rest.NewProblem(http.StatusNotFound, "no such letter")
	}
	return letters[0], nil
}

// serveLetter answers GET /console/deadletters/{topic}/{partition}/{offset} with a whole letter.
func (c *Console) serveLetter(w http.ResponseWriter, r *http.Request) error {
	partition, err := strconv.ParseInt(r.PathValue("partition"), 10, 32)
	offset, err2 := strconv.ParseInt(r.PathValue("offset"), 10, 64)
	if errors.Join(err, err2) != nil {
		return rest.NotFound(w, r)
	}
	l, err := c.loadOne(r.Context(), place{r.PathValue("topic"), int32(partition), offset})
	if err != nil {
		return err
	}
	corrections, err := deadletter.Corrections(r.Context(), c.operations, l.Summary)
	if err != nil {
		return err
	}
	page := c.newLetterPage(l, corrections)
	c.freshLetters(r.Context())
	for _, other := range c.letters.Page(deadletter.Filter{Group: page.Group}, 0, maxAlike+1).Letters {
		if other.Place != l.Place {
			page.Alike = append(page.Alike, newLetterLine(other))
		}
	}
	return rest.JSON(w, http.StatusOK, page)
}

// traceparent matches the W3C trace context; the trace id is its first group.
var traceparent = regexp.MustCompile(`^[0-9a-f]{2}-([0-9a-f]{32})-`)

func (c *Console) newLetterPage(l deadletter.Letter, corrections []operations.DeadLetterCorrection) letterPage {
	value := l.Readable
	page := letterPage{
		letterLine: newLetterLine(l.Summary), Headers: map[string]string{}, Size: len(l.Record.Value), Shortened: len(value) > shownValue,
		Cut: begin(l.Cut, shownHeader), Actions: []action{}, Corrections: []correction{}, Alike: []letterLine{},
	}
	if l.Origin.Offset >= 0 {
		page.Origin = l.Origin.String()
	}
	if events.ValidOrderID(l.Key) {
		page.OrderID = l.Key
	}
	if found := traceparent.FindStringSubmatch(fmt.Sprint(l.Event.Extensions()["traceparent"])); found != nil {
		page.TraceID = found[1]
		page.TraceURL = strings.ReplaceAll(c.o.TraceURL, "{trace}", page.TraceID)
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
	for _, row := range corrections {
		page.Corrections = append(page.Corrections, correction{
			moment(row.At), row.Actor, row.Reason, begin(string(row.Original), shownValue), begin(string(row.Corrected), shownValue),
		})
	}
	return page
}
