package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"

	"example.com/orders/functions/internal/operate/deadletter"
)

func lettersCorrect(flags *pflag.FlagSet) runner {
	var c letterCommand
	var value string
	c.replaying(flags)
	flags.StringVar(&value, "value", "", "`file` with the corrected value, - for standard input; deadletters show --json prints the present one")
	return c.with(func(ctx context.Context, box letterBox, found []deadletter.Summary, out streams, s *servers, o options) error {
		if len(found) != 1 {
			return usage(fmt.Errorf("%d letters are selected: select one, by --topic, --partition and --offset", len(found)))
		}
		corrected, err := readValue(value)
		if err != nil {
			return err
		}
		r, err := c.replay(box, s, o)
		if err != nil {
			return err
		}
		return c.correct(ctx, box, r, found[0], deadletter.Correction{Value: corrected, Reason: c.reason}, out)
	})
}

// correct sends a corrected copy of a letter, or says whether it would.
func (c *letterCommand) correct(ctx context.Context, box letterBox, r deadletter.Replay, l deadletter.Summary, correction deadletter.Correction, out streams) error {
	letters, err := box.Load(ctx, []deadletter.Place{l.Place})
	if err != nil {
		return err
	}
	if len(letters) == 0 {
		return fmt.Errorf("the topic no longer keeps %s", l.Place)
	}
	return c.change(out, []deadletter.Summary{l}, "corrected and replayed", func(l deadletter.Summary) (string, error) {
		to, err := r.URL(l)
		if err == nil {
			err = correction.Check(letters[0])
		}
		return " to " + to, err
	}, func(_ []deadletter.Summary, report deadletter.Report) error {
		r.Report = report
		return r.Correct(ctx, letters[0], correction)
	})
}

// readValue reads the corrected value from a file or from standard input.
func readValue(path string) ([]byte, error) {
	switch path {
	case "":
		return nil, usage(errors.New("--value: name the file with the corrected value"))
	case "-":
		value, err := io.ReadAll(io.LimitReader(os.Stdin, deadletter.MaxCorrection+1))
		if err != nil {
			return nil, fmt.Errorf("read the corrected value: %w", err)
		}
		return value, nil
	default:
		value, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the corrected value: %w", err)
		}
		return value, nil
	}
}
