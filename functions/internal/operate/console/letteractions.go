package console

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"example.com/orders/functions/internal/operate/deadletter"
	"example.com/orders/functions/internal/web/rest"
)

// Bounds of changing letters.
const (
	parkAfter     = 3 // failed replays
	replayWithin  = 30 * time.Second
	replayGrace   = 10 * time.Second
	correctWithin = 2 * time.Minute
)

// lettersRequest is an action on letters: those at places, or all that a filter selects.
type lettersRequest struct {
	command
	Letters []place `json:"letters"`
	// Filter has the parameters of the address of a page.
	Filter *string `json:"filter"`
}

// outcome is the number of letters with the same result.
type outcome struct {
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Count  int    `json:"count"`
}

// plan is what an action would do.
type plan struct {
	Total    int       `json:"total"`
	Possible int       `json:"possible"`
	Outcomes []outcome `json:"outcomes"`
}

// changeLetters answers POST /console/deadletters: it says what would happen to letters, or starts a job that replays, parks
// or discards them, and answers with its id.
func (c *Console) changeLetters(w http.ResponseWriter, r *http.Request) error {
	var asked lettersRequest
	if err := decode(w, r, &asked); err != nil {
		return err
	}
	things := len(asked.Letters)
	if asked.Filter != nil {
		things = 1
	}
	if err := asked.check(things, "replay", "park", "discard"); err != nil {
		return err
	}
	if err := c.refreshLetters(r.Context(), 0); err != nil {
		return err
	}
	letters, err := c.selectLetters(asked)
	if err != nil {
		return err
	}
	if asked.DryRun {
		return rest.JSON(w, http.StatusOK, c.planFor(asked.command, letters))
	}
	j, err := c.jobs.start(asked.command, actor(r, asked.Actor), letters, c.carryOut)
	if err != nil {
		return err
	}
	c.hub.refresh("letterjobs")
	return rest.JSON(w, http.StatusAccepted, struct {
		Job int64 `json:"job"`
	}{j.id})
}

// selectLetters returns the letters that a request is about, without those of a filter that are in a state that the action
// does not change.
func (c *Console) selectLetters(asked lettersRequest) ([]deadletter.Summary, error) {
	if asked.Filter == nil {
		var places []deadletter.Place
		for _, p := range asked.Letters {
			places = append(places, deadletter.Place(p))
		}
		letters := c.letters.At(places)
		if len(letters) < len(places) {
			return nil, rest.NewProblem(http.StatusNotFound, "no such letter")
		}
		return letters, nil
	}
	q, ok := parseLetterQuery(*asked.Filter)
	if !ok {
		return nil, rest.NewProblem(http.StatusBadRequest, "the filter has the parameters state, function, group, topic and key")
	}
	return c.letters.Select(q.Filter), nil
}

// changes has the states whose letters an action changes.
var changes = map[string][]deadletter.State{
	"replay": {deadletter.Open, deadletter.Parked}, "park": {deadletter.Open}, "discard": {deadletter.Open, deadletter.Parked},
}

// replay returns the replay of the console, which has no journal yet.
func (c *Console) replay() deadletter.Replay {
	return deadletter.Replay{
		Load: c.load, FunctionsURL: c.o.FunctionsURL, Token: c.o.FunctionsToken, ParkAfter: parkAfter, States: changes["replay"], Timeout: replayWithin, Grace: replayGrace,
	}
}

// planFor counts what would happen to letters.
func (c *Console) planFor(asked command, letters []deadletter.Summary) plan {
	p := plan{Total: len(letters), Outcomes: []outcome{}}
	counts := map[outcome]int{}
	for _, l := range letters {
		would := c.wouldBe(asked, l)
		counts[would]++
		if would.OK {
			p.Possible++
		}
	}
	for would, count := range counts {
		would.Count = count
		p.Outcomes = append(p.Outcomes, would)
	}
	slices.SortFunc(p.Outcomes, func(a, b outcome) int { return cmp.Or(b.Count-a.Count, cmp.Compare(a.Detail, b.Detail)) })
	p.Outcomes = p.Outcomes[:min(len(p.Outcomes), maxGroups)]
	return p
}

// wouldBe says what would happen to a letter.
func (c *Console) wouldBe(asked command, l deadletter.Summary) outcome {
	if !slices.Contains(changes[asked.Action], l.State) {
		return outcome{Detail: "it is " + string(l.State)}
	}
	if asked.Action != "replay" {
		return outcome{OK: true, Detail: asked.done()}
	}
	to, err := c.replay().URL(l)
	switch {
	case err != nil:
		return outcome{Detail: err.Error()}
	case l.Cut != "":
		return outcome{Detail: "a part of the record is missing: it cannot be replayed"}
	default:
		return outcome{OK: true, Detail: "would be sent to " + to}
	}
}

// carryOut changes letters. It holds no reader of topics while a function works, so that other pages do not wait for it.
func (c *Console) carryOut(ctx context.Context, who string, asked command, letters []deadletter.Summary, report deadletter.Report) error {
	return c.withJournal(ctx, who, func(journal *deadletter.Journal) error {
		switch asked.Action {
		case "park":
			return journal.Park(ctx, letters, asked.Reason, report)
		case "discard":
			return journal.Discard(ctx, letters, asked.Reason, report)
		default:
			replay := c.replay()
			replay.Journal, replay.Report = journal, report
			return replay.Run(ctx, letters)
		}
	})
}

// withJournal calls do with a journal of an operator.
func (c *Console) withJournal(ctx context.Context, who string, do func(*deadletter.Journal) error) error {
	journal, err := deadletter.OpenJournal(ctx, c.operations, who)
	if err != nil {
		return err
	}
	return errors.Join(do(journal), journal.Close())
}

// correctRequest is a corrected copy of a letter.
type correctRequest struct {
	command
	place
	Value string `json:"value"`
}

// correctLetter answers POST /console/deadletters/correct: it sends a corrected copy of a letter to the function that failed,
// or says whether that would accept it.
func (c *Console) correctLetter(w http.ResponseWriter, r *http.Request) error {
	var asked correctRequest
	if err := decode(w, r, &asked); err != nil {
		return err
	}
	asked.Action = "correct"
	if err := asked.check(1, "correct"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), correctWithin)
	defer cancel()
	l, err := c.loadOne(ctx, asked.place)
	if err != nil {
		return err
	}
	would := c.wouldBe(command{Action: "replay", DryRun: true}, l.Summary)
	came := result{l.String(), would.OK, would.Detail}
	copied := deadletter.Correction{Value: []byte(asked.Value), Reason: asked.Reason}
	if err := copied.Check(l); err != nil {
		came.OK, came.Detail = false, err.Error()
	}
	if asked.DryRun || !came.OK {
		return rest.JSON(w, http.StatusOK, came)
	}
	err = c.withJournal(ctx, actor(r, asked.Actor), func(journal *deadletter.Journal) error {
		replay := c.replay()
		replay.Journal, replay.Report = journal, func(_ deadletter.Summary, how deadletter.Result, detail string) {
			came.OK, came.Detail = how == deadletter.Done, string(how)+": "+detail
		}
		return replay.Correct(ctx, l, copied)
	})
	c.hub.refresh("deadletters")
	if err != nil {
		came.OK, came.Detail = false, err.Error()
	}
	return rest.JSON(w, http.StatusOK, came)
}
