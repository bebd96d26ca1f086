package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.com/orders/functions/internal/messaging/registry"
)

func (p *program) schemas() *cobra.Command {
	return parent(
		&cobra.Command{
			GroupID: groupOperate, Use: "schemas", Short: "register, list or check the Avro schemas of the events in the schema registry",
			Long: schemasHelp, SuggestFor: []string{"schema", "registry", "register", "check"},
		},
		p.command(&cobra.Command{
			Use: "register", Short: "register the schemas of all versions of all facts, before a relay writes Avro",
			Example: `  SCHEMA_REGISTRY_URL=http://127.0.0.1:8081 harness schemas register`,
		}, prepareSchemas((*registry.Registry).Register)),
		p.command(&cobra.Command{
			Use: "list", Short: "list the schemas with their ids",
			Example: `  harness schemas list --json`,
		}, prepareSchemas((*registry.Registry).List)),
		p.command(&cobra.Command{
			Use: "check", Short: "check whether the registry would take each schema, register none, and fail if it would not",
			Example: `  harness schemas check`,
		}, prepareSchemas((*registry.Registry).Check)),
	)
}

// prepareSchemas adds the flags of a command about the schemas in the schema registry. do asks the registry about them.
func prepareSchemas(do func(*registry.Registry, context.Context) ([]registry.State, error)) func(*pflag.FlagSet) runner {
	return func(flags *pflag.FlagSet) runner {
		asJSON := flags.Bool("json", false, "write the schemas as JSON")
		return func(ctx context.Context, o options, out streams) error {
			r, err := registry.Open(o.environ)
			if err != nil {
				return usage(err)
			}
			states, err := do(r, ctx)
			if errors.Is(err, registry.ErrIncompatible) {
				return fmt.Errorf("%w: a change that older data does not fit makes another type of event, not another version", err)
			}
			if err != nil {
				return unreachable(err)
			}
			if *asJSON {
				err = writeJSON(out, states)
			} else {
				for _, s := range states {
					fmt.Fprintln(out.stdout, s)
				}
			}
			bad := 0
			for _, s := range states {
				if s.Refused {
					bad++
				}
			}
			if bad > 0 {
				err = errors.Join(err, fmt.Errorf("the schema registry would refuse %s", counted(bad, "schema", "schemas")))
			}
			return err
		}
	}
}
