package main

import (
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/functions/internal/operate/deadletter"
)

// plainText makes text of a record safe for a terminal.
func plainText(text string) string { return oneline.Of(text, 200) }

// consumerOf returns the function that a letter names, marked if the letter is forged, or missing if it names none.
func consumerOf(l deadletter.Summary, missing string) string {
	if l.Forged {
		return plainText(l.Consumer) + " (forged)"
	}
	return or(plainText(l.Consumer), missing)
}

// few returns the first things up to a limit, and says how many there are besides.
func few[T any](out streams, all []T, limit int) []T {
	if limit <= 0 || len(all) <= limit {
		return all
	}
	fmt.Fprintf(out.stderr, "%d more: see --limit\n", len(all)-limit)
	return all[:limit]
}

// groupView is a group of letters in JSON.
type groupView struct {
	ID       string    `json:"id"`
	Count    int       `json:"count"`
	Consumer string    `json:"consumer"`
	Error    string    `json:"error"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
}

func listGroups(out streams, groups []deadletter.Group, limit int, asJSON bool) error {
	shown := few(out, groups, limit)
	if asJSON {
		views := make([]groupView, len(shown))
		for i, g := range shown {
			views[i] = groupView{g.ID, g.Count, g.Consumer, g.Pattern, g.First.UTC(), g.Last.UTC()}
		}
		return jsonLines(out.stdout, views)
	}
	row, flush := table(out.stdout, "GROUP", "LETTERS", "CONSUMER", "FIRST", "LAST", "ERROR")
	for _, g := range shown {
		row(g.ID, g.Count, or(plainText(g.Consumer), "-"), ago(time.Since(g.First)), ago(time.Since(g.Last)), oneline.Of(g.Pattern, 100))
	}
	return flush()
}

// placesOf returns the places of letters.
func placesOf(letters []deadletter.Summary) []deadletter.Place {
	places := make([]deadletter.Place, len(letters))
	for i, l := range letters {
		places[i] = l.Place
	}
	return places
}

// inOrder returns loaded letters in the order in which they were found.
func inOrder(letters []deadletter.Letter, found []deadletter.Summary) []deadletter.Letter {
	at := map[deadletter.Place]int{}
	for i, l := range found {
		at[l.Place] = i
	}
	slices.SortFunc(letters, func(a, b deadletter.Letter) int { return at[a.Place] - at[b.Place] })
	return letters
}

func listLetters(out streams, letters []deadletter.Summary, limit int, asJSON bool) error {
	shown := few(out, letters, limit)
	if asJSON {
		views := make([]letterView, len(shown))
		for i, l := range shown {
			views[i] = newLetterView(l)
		}
		return jsonLines(out.stdout, views)
	}
	row, flush := table(out.stdout, "LETTER", "STATE", "CONSUMER", "KEY", "EVENT", "ATTEMPTS", "STATUS", "REPLAYS FAILED", "AGE", "ERROR")
	for _, l := range shown {
		row(l.Place, l.State, consumerOf(l, "-"), or(plainText(l.Key), "-"), plainText(l.EventType+" "+l.EventID),
			known(l.Attempts), known(l.Status), l.Failures, ago(time.Since(l.At)), oneline.Of(l.Error, 100))
	}
	if err := flush(); err != nil {
		return err
	}
	fmt.Fprintln(out.stdout, counted(len(letters), "letter", "letters"))
	return nil
}

func showLetters(out streams, letters []deadletter.Letter, asJSON bool) error {
	if asJSON {
		views := make([]letterView, len(letters))
		for i, l := range letters {
			views[i] = newFullView(l)
		}
		return jsonLines(out.stdout, views)
	}
	for i, l := range letters {
		if i > 0 {
			fmt.Fprintln(out.stdout)
		}
		showLetter(out, l)
	}
	return nil
}

func showLetter(out streams, l deadletter.Letter) {
	line := func(name string, value any) { fmt.Fprintf(out.stdout, "%-10s %v\n", name, value) }
	line("letter", l.Place)
	line("state", fmt.Sprintf("%s, %d replays failed", l.State, l.Failures))
	line("consumer", consumerOf(l.Summary, "not named: it cannot be replayed"))
	line("key", plainText(l.Key))
	if l.Origin.Offset >= 0 {
		line("record", l.Origin)
	}
	line("set aside", l.At.UTC().Format(time.RFC3339Nano))
	line("failed", failure(l.Summary))
	if l.Cut != "" {
		line("cut", plainText(l.Cut)+": it cannot be replayed")
	}
	line("event", plainText(l.Event.Type()))
	line("id", plainText(l.Event.ID()))
	line("source", plainText(l.Event.Source()))
	if at := l.Event.Time(); !at.IsZero() {
		line("time", at.UTC().Format(time.RFC3339Nano))
	}
	extensions := l.Event.Extensions()
	for _, name := range slices.Sorted(maps.Keys(extensions)) {
		line(" "+name, plainText(fmt.Sprint(extensions[name])))
	}
	line("value", oneline.Of(string(l.Readable), 1<<20))
	if l.NotReadable != nil {
		line("not readable", plainText(l.NotReadable.Error()))
	}
	for _, a := range l.History {
		answer := ""
		if a.Status != nil {
			answer = fmt.Sprintf(" %d", *a.Status)
		}
		line("action", fmt.Sprintf("%s %s by %s:%s %s", a.At.Format(time.RFC3339), a.Action, plainText(a.Actor), answer, oneline.Of(a.Detail, 500)))
	}
}

// known returns a number of a letter for a table, or a dash, since Knative may not provide it.
func known(n int) any {
	if n == 0 {
		return "-"
	}
	return n
}

// failure says why a record became a dead letter. Knative does not count attempts, and has status 0 if there was no answer.
func failure(l deadletter.Summary) string {
	text := "no answer"
	if l.Status != 0 {
		text = fmt.Sprintf("the last answer was %d", l.Status)
	}
	if l.Attempts != 0 {
		text = fmt.Sprintf("%d attempts, %s", l.Attempts, text)
	}
	if l.Error != "" {
		text += ": " + oneline.Of(l.Error, 1000)
	}
	return text
}

// letterView is a letter in JSON.
type letterView struct {
	Topic     string     `json:"topic"`
	Partition int32      `json:"partition"`
	Offset    int64      `json:"offset"`
	State     string     `json:"state"`
	Failures  int        `json:"replaysFailed"`
	Consumer  string     `json:"consumer"`
	Forged    bool       `json:"forged,omitempty"` // no source has its consumer and topics together
	Key       string     `json:"key"`
	EventType string     `json:"eventType"`
	EventID   string     `json:"eventId"`
	Source    string     `json:"eventSource"`
	Attempts  int        `json:"attempts"`
	Status    int        `json:"status"`
	Error     string     `json:"error"`
	Cut       string     `json:"cut,omitempty"`
	At        time.Time  `json:"setAsideAt"`
	Origin    *placeView `json:"record,omitempty"`

	Extensions map[string]any `json:"extensions,omitempty"`
	Value      string         `json:"value,omitempty"`
	Binary     []byte         `json:"valueBase64,omitempty"` // instead of the value, if that is not text
	History    []actionView   `json:"actions,omitempty"`
}

type placeView struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

type actionView struct {
	Action   string    `json:"action"`
	Actor    string    `json:"actor"`
	At       time.Time `json:"at"`
	Attempts int       `json:"replaysFailed"`
	Status   *int      `json:"status,omitempty"`
	Detail   string    `json:"detail"`
}

// newLetterView returns a letter in JSON, without its contents.
func newLetterView(l deadletter.Summary) letterView {
	v := letterView{
		Topic: l.Topic, Partition: l.Partition, Offset: l.Offset, State: string(l.State), Failures: l.Failures,
		Consumer: l.Consumer, Forged: l.Forged, Key: l.Key, EventType: l.EventType, EventID: l.EventID, Source: l.EventSource,
		Attempts: l.Attempts, Status: l.Status, Error: l.Error, Cut: l.Cut, At: l.At.UTC(),
	}
	if l.Origin.Offset >= 0 {
		v.Origin = &placeView{l.Origin.Topic, l.Origin.Partition, l.Origin.Offset}
	}
	return v
}

// newFullView returns a letter in JSON, with its contents.
func newFullView(l deadletter.Letter) letterView {
	v := newLetterView(l.Summary)
	v.Extensions = l.Event.Extensions()
	if utf8.Valid(l.Readable) {
		v.Value = string(l.Readable)
	} else {
		v.Binary = l.Readable
	}
	for _, a := range l.History {
		v.History = append(v.History, actionView{string(a.Action), a.Actor, a.At, a.Attempts, a.Status, a.Detail})
	}
	return v
}
