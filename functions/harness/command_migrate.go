package main

import (
	"context"
	"errors"
	"fmt"
)

// migrateCommand migrates the schemas to their newest version and prints what it applied.
func migrateCommand(ctx context.Context, o options, out streams) (err error) {
	s, release, err := reach(ctx, o, out, needsDatabase|makesMissing)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	applied, err := s.migrate(ctx)
	for _, a := range applied {
		fmt.Fprintf(out.stdout, "%s: applied %s\n", a.Schema, a.Name)
	}
	if err == nil {
		fmt.Fprintf(out.stdout, "%d migrations applied, all schemas are at their newest version\n", len(applied))
	}
	return err
}
