package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"example.com/orders/functions/internal/operate/connect"
	"example.com/orders/functions/internal/web/secret"
	"example.com/orders/knative"
	"example.com/orders/sql/cdc"
	"example.com/orders/sql/schema"
)

func cdcPrepare(flags *pflag.FlagSet) runner {
	var dryRun bool
	flags.BoolVar(&dryRun, "dry-run", false, "print what would be done, and the statements for the user")
	return func(ctx context.Context, o options, out streams) error {
		d, all, err := configured(o, needsDatabase)
		if err != nil {
			return err
		}
		user := o.environ[cdcUser]
		password, err := secret.Read(o.environ, cdcPassword)
		if err != nil {
			return usage(err)
		}
		if (user == "") != (password == "") {
			return usage(fmt.Errorf("give both %s and %s, or neither and the user by hand", cdcUser, cdcPassword))
		}
		return d.withPoolsOf(ctx, out, administrator, func(_ *servers, pools *pools) error {
			var names []string
			for _, c := range all {
				names = append(names, c.Schema)
				if err := prepareOutbox(ctx, out, pools, c.Schema, dryRun); err != nil {
					return err
				}
			}
			parts, err := pools.server.Parts(names...)
			if err != nil {
				return err
			}
			if !dryRun && user == "" {
				fmt.Fprintf(out.stderr, "the user of the connectors is left to you: set %s and %s, or see --dry-run for what it needs\n", cdcUser, cdcPassword)
				return nil
			}
			for _, part := range parts {
				if err := prepareUser(ctx, out, pools, part, user, password, dryRun); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// prepareUser makes the user of the connectors on one of the servers with outboxes.
func prepareUser(ctx context.Context, out streams, pools *pools, part schema.Part, user, password string, dryRun bool) error {
	if dryRun {
		fmt.Fprintf(out.stdout, "-- on the server of %s\n", part.From())
		for _, statement := range cdc.Statements(part.Server, or(user, "cdc"), "…", part.Schemas) {
			fmt.Fprintf(out.stdout, "%s;\n", statement)
		}
		return nil
	}
	db, err := pools.get(part.Schemas[0])
	if err != nil {
		return err
	}
	if err := cdc.Grant(ctx, db, part.Server, user, password, part.Schemas); err != nil {
		return err
	}
	fmt.Fprintf(out.stdout, "%s may follow the binary log and read the outboxes of %s\n", user, strings.Join(part.Schemas, ", "))
	return nil
}

func prepareOutbox(ctx context.Context, out streams, pools *pools, schema string, dryRun bool) error {
	db, err := pools.get(schema)
	if err != nil {
		return err
	}
	if err := cdc.Check(ctx, db); err != nil {
		return err
	}
	if dryRun {
		missing, err := cdc.Missing(ctx, db)
		if err == nil {
			fmt.Fprintf(out.stdout, "%s: %s would be added to the outbox\n", schema, counted(len(missing), "column", "columns"))
		}
		return err
	}
	added, err := cdc.AddColumns(ctx, db)
	if err == nil {
		fmt.Fprintf(out.stdout, "%s: %s added to the outbox\n", schema, counted(added, "column", "columns"))
	}
	return err
}

func cdcRemove(flags *pflag.FlagSet) runner {
	var anew bool
	flags.BoolVar(&anew, "forget", false, "forget the positions of the connectors, too: if they come back, they start at the end of the binary log")
	return func(ctx context.Context, o options, out streams) error {
		d, all, err := configured(o, needsDatabase)
		if err != nil {
			return err
		}
		c, err := kafkaConnect(o)
		if err != nil {
			return err
		}
		if err := removeConnectors(ctx, out, c, all, anew); err != nil {
			return err
		}
		return d.withPoolsOf(ctx, out, administrator, func(_ *servers, pools *pools) error {
			for _, one := range all {
				db, err := pools.get(one.Schema)
				if err != nil {
					return err
				}
				removed, err := cdc.RemoveColumns(ctx, db)
				if err != nil {
					return err
				}
				fmt.Fprintf(out.stdout, "%s: %s removed from the outbox\n", one.Schema, counted(removed, "column", "columns"))
			}
			return nil
		})
	}
}

// removeConnectors removes those that are there. Of one that is not, Kafka Connect can forget no position.
func removeConnectors(ctx context.Context, out streams, c *connect.Client, all []knative.Connector, anew bool) error {
	done := "removed"
	if anew {
		done = "removed, and its position forgotten"
	}
	var errs []error
	for _, one := range all {
		switch err := removeConnector(ctx, c, one.Name, anew); {
		case errors.Is(err, connect.ErrUnknown):
			fmt.Fprintf(out.stdout, "%s: was not there; a position that it has left stays\n", one.Name)
		case err != nil:
			errs = append(errs, err)
		default:
			fmt.Fprintf(out.stdout, "%s: %s\n", one.Name, done)
		}
	}
	return errors.Join(errs...)
}

func removeConnector(ctx context.Context, c *connect.Client, name string, anew bool) error {
	if anew {
		if err := forgetPosition(ctx, c, name); err != nil {
			return err
		}
	}
	return c.Delete(ctx, name)
}
