package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/pflag"

	"example.com/orders/functions/internal/operate/audit"
	"example.com/orders/sql/privilege"
)

// defaultGrace is longer than an event takes from its commit to its last effect in normal operation.
const defaultGrace = 30 * time.Second

// prepareAudit adds the flags of audit.
func prepareAudit(flags *pflag.FlagSet) runner {
	asJSON := flags.Bool("json", false, "write the report as JSON")
	grace := flags.Duration("grace", defaultGrace, "how long after its last change an order may still be in flight")
	checkpoint := flags.String("since", "", "audit only what has changed since the last audit with this `file`, which it writes; without the file, everything")
	return func(ctx context.Context, o options, out streams) error {
		return auditCommand(ctx, o, out, *grace, *asJSON, *checkpoint)
	}
}

// auditCommand audits once, writes the report to standard output, and fails if there is a breach.
func auditCommand(ctx context.Context, o options, out streams, grace time.Duration, asJSON bool, checkpoint string) (err error) {
	s, release, err := reach(ctx, o, out, needsDatabase|needsKafka|needsGateway)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	config, err := s.as(privilege.Audit)
	if err != nil {
		return err
	}
	audited, err := audit.Configure(config, grace)
	if err != nil {
		return err
	}
	report, err := auditSince(ctx, audited, checkpoint)
	if errors.Is(err, audit.ErrCheckpoint) {
		return usage(err)
	}
	if err != nil {
		return unreachable(err) // which is no finding
	}
	if asJSON {
		err = writeJSON(out, report)
	} else {
		err = folded(out.stdout, func(w io.Writer) error {
			report.Write(w)
			return nil
		})
	}
	if breaches := report.Breaches(); breaches > 0 {
		err = errors.Join(err, fmt.Errorf("the audit found %s", counted(breaches, "breach", "breaches")))
	}
	return err
}

// auditSince audits what has changed since the checkpoint in a file, and writes the next one to it. After a breach there is none,
// so that the next audit is a full one. Without a name it audits everything, and writes nothing.
func auditSince(ctx context.Context, o audit.Options, file string) (*audit.Report, error) {
	if file == "" {
		return audit.Run(ctx, o)
	}
	from, err := audit.LoadCheckpoint(file)
	if err != nil {
		return nil, err
	}
	report, next, err := audit.RunSince(ctx, o, from)
	if err != nil {
		return nil, err
	}
	if next != nil {
		return report, next.Save(file)
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the checkpoint, which the next audit must not use: %w", err)
	}
	return report, nil
}
