package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/knative"
)

const principalsHelp = `Lists who connects to Kafka, and what for: each relay writes the topics of its schema's events, each source reads its topic in
its group, each sink and a harness's own writer of dead letters write theirs, and the tools of operators read all. With
--overlay cdc, Kafka Connect writes the topics of events, and a relay reads them too; with --kafka-sinks, sinks write them, and
relays do not connect to Kafka. All of it comes from the wiring.

With --apply it gives the principals these rules in the cluster of KAFKA_BROKERS, and takes what they have beyond them; with
KAFKA_USERS_SECRET it makes their users too, whose passwords are derived from it. KAFKA_SASL_USER is an administrator's then. A
harness with KAFKA_USERS_SECRET does the same when it starts, and each of its relays and sources logs in as its own; with the
secret, its console and audit and the commands of operators log in as operator.`

// preparePrincipals adds the flags of principals.
func preparePrincipals(flags *pflag.FlagSet) runner {
	apply := flags.Bool("apply", false, "give them their rules in the cluster, and make their users if KAFKA_USERS_SECRET is set")
	strimzi := flags.Bool("strimzi", false, "write them as KafkaUsers for Strimzi's user operator")
	sinks := flags.Bool("kafka-sinks", false, "those of the overlays of that name, where relays publish through KafkaSinks")
	return func(ctx context.Context, o options, out streams) (err error) {
		if *apply && *strimzi {
			return usage(errors.New("--apply and --strimzi: give one of them"))
		}
		principals := func(config map[string]string) ([]kafka.Principal, error) {
			wiring, err := knative.Configured(config)
			if err != nil {
				return nil, err
			}
			if *sinks && wiring.Captures() {
				return nil, usage(errors.New("--kafka-sinks: with change data capture Kafka Connect publishes, and no relay does"))
			}
			if *sinks {
				wiring = wiring.WithKafkaSinks()
			}
			return kafka.Principals(wiring, config["KAFKA_TOPIC_PREFIX"]), nil
		}
		if !*apply {
			all, err := principals(o.environ)
			if err != nil {
				return err
			}
			return writePrincipals(out.stdout, all, *strimzi)
		}
		s, release, err := reach(ctx, o, out, needsKafka)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, release()) }()
		all, err := principals(s.config)
		if err != nil {
			return err
		}
		users, err := kafka.Users(s.config)
		if err != nil {
			return usage(err)
		}
		changes, err := kafka.Authorize(s.brokers, all, users)
		for _, change := range changes {
			fmt.Fprintln(out.stdout, change)
		}
		if err == nil {
			fmt.Fprintln(out.stdout, counted(len(changes), "rule changed", "rules changed"))
		}
		return err
	}
}

func writePrincipals(out io.Writer, principals []kafka.Principal, strimzi bool) error {
	for _, p := range principals {
		if !strimzi {
			fmt.Fprintln(out, p.Name)
			for _, r := range p.Rules {
				fmt.Fprintln(out, "  "+r.String())
			}
			continue
		}
		text, err := yaml.Marshal(kafkaUser(p))
		if err != nil {
			return fmt.Errorf("write the KafkaUser %s: %w", p.Name, err)
		}
		fmt.Fprintf(out, "---\n%s", text)
	}
	return nil
}

// kafkaUser is the manifest of a principal for Strimzi, in the cluster of knative/components/local.
func kafkaUser(p kafka.Principal) map[string]any {
	acls := make([]any, len(p.Rules))
	for n, r := range p.Rules {
		operations := make([]string, len(r.Operations))
		for i := range r.Operations {
			operations[i] = r.Operations[i].String()
		}
		acls[n] = map[string]any{
			"resource":   map[string]string{"type": strings.ToLower(r.Resource.String()), "name": r.Name, "patternType": "literal"},
			"operations": operations, "host": "*",
		}
	}
	return map[string]any{
		"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaUser",
		"metadata": map[string]any{"name": p.Name, "namespace": "kafka", "labels": map[string]string{"strimzi.io/cluster": "orders"}},
		"spec": map[string]any{
			"authentication": map[string]string{"type": "scram-sha-512"},
			"authorization":  map[string]any{"type": "simple", "acls": acls},
		},
	}
}
