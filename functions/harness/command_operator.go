package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// operator has the flags that the commands with changes share.
type operator struct {
	actor  string
	reason string
	dryRun bool
}

func (p *operator) flags(flags *pflag.FlagSet) {
	flags.StringVar(&p.actor, "actor", "", "`name` of who does it, for the record (default user@host) [HARNESS_ACTOR]")
	flags.StringVar(&p.reason, "reason", "", "`text` with the reason, for the record")
	flags.BoolVar(&p.dryRun, "dry-run", false, "print the changes without making them")
}

// name returns the recorded name of the operator.
func (p *operator) name(o options) string {
	if p.actor != "" {
		return p.actor
	}
	if actor := o.environ["HARNESS_ACTOR"]; actor != "" {
		return actor
	}
	name := "uid " + strconv.Itoa(os.Getuid()) // a container may have no names of users
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}

// readStates parses --state: some of the states, separated by commas, or all.
func readStates[T ~string](text string, states []T) ([]T, error) {
	if text == "all" {
		return states, nil
	}
	var wanted []T
	for name := range strings.SplitSeq(text, ",") {
		state := T(strings.TrimSpace(name))
		if !slices.Contains(states, state) {
			return nil, usage(fmt.Errorf("--state %q: give some of %v separated by commas, or all", text, states))
		}
		wanted = append(wanted, state)
	}
	return wanted, nil
}

// jsonLines writes one JSON value per line.
func jsonLines[T any](w io.Writer, values []T) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for _, value := range values {
		if err := encoder.Encode(value); err != nil {
			return err
		}
	}
	return nil
}

// ago formats a duration for people: seconds up to two minutes, minutes up to two hours, then hours and days.
func ago(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
