package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	return func(ctx context.Context, o options, out streams) error {
		return auditCommand(ctx, o, out, *grace, *asJSON)
	}
}

// auditCommand audits once, writes the report to standard output, and fails if there is a breach.
func auditCommand(ctx context.Context, o options, out streams, grace time.Duration, asJSON bool) (err error) {
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
	report, err := audit.Run(ctx, audited)
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
