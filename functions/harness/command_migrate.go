package main

import (
	"context"
	"errors"
	"fmt"
)

// migrateCommand migrates the schemas to their newest version, makes the users of the database, and prints what it changed.
func migrateCommand(ctx context.Context, o options, out streams) (err error) {
	s, release, err := reach(ctx, o, out, needsDatabase|makesMissing)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	applied, users, err := s.migrate(ctx)
	for _, a := range applied {
		fmt.Fprintf(out.stdout, "%s: applied %s\n", a.Schema, a.Name)
	}
	for _, u := range users {
		fmt.Fprintf(out.stdout, "database user %s\n", u)
	}
	if err == nil {
		fmt.Fprintf(out.stdout, "%d migrations applied, all schemas are at their newest version\n", len(applied))
	}
	return err
}
