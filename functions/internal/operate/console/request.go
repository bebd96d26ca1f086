package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"example.com/orders/functions/internal/web/rest"
)

// command is a request of an operator.
type command struct {
	Action string `json:"action"`
	Reason string `json:"reason"`
	Actor  string `json:"actor"`
	DryRun bool   `json:"dryRun"`
}

// result is the result for one thing.
type result struct {
	What   string `json:"what"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// decode reads a body; its error is a *rest.Problem.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	body, err := rest.Body(w, r)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return rest.NewProblem(http.StatusBadRequest, "the body is not what this path takes: "+err.Error())
	}
	return nil
}

// check refuses invalid commands; its error is a *rest.Problem.
func (o command) check(things int, actions ...string) error {
	switch {
	case !slices.Contains(actions, o.Action):
		return rest.NewProblem(http.StatusBadRequest, fmt.Sprintf("the action is one of %v", actions))
	case things < 1 || things > maxRows:
		return rest.NewProblem(http.StatusBadRequest, fmt.Sprintf("select 1 to %d of them", maxRows))
	case len(o.Reason) > 500 || len(o.Actor) > 64:
		return rest.NewProblem(http.StatusBadRequest, "the reason has at most 500 and the actor at most 64 bytes")
	}
	return nil
}

// done describes the change of a thing.
func (o command) done() string {
	if o.DryRun {
		return "would be " + past[o.Action]
	}
	return past[o.Action]
}

var past = map[string]string{"requeue": "requeued", "discard": "discarded", "replay": "replayed", "park": "parked", "retry": "due now"}
