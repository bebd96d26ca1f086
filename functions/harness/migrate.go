package main

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// migrateCommand brings the schemas to their newest version and says what it did: on the server of MYSQL_DSN, on that
// of a harness that is running on the data folder, or on one of our own.
func migrateCommand(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	if o.environ["MYSQL_DSN"] == "" && !o.ephemeral {
		if run, err := readRun(o.data); err == nil {
			o.environ["MYSQL_DSN"] = run.DSN
		}
	}
	s := &servers{config: o.environ}
	if o.environ["MYSQL_DSN"] == "" {
		data, err := openData(o)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, data.close()) }()
		if err := s.startDatabase(ctx, o, data, o.logger(stderr)); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.stop(ctx)) }()
	}
	applied, err := s.migrate(ctx)
	for _, a := range applied {
		fmt.Fprintf(stdout, "%s: applied %s\n", a.Schema, a.Name)
	}
	if err == nil {
		fmt.Fprintf(stdout, "%d migrations applied, all schemas are at their newest version\n", len(applied))
	}
	return err
}
