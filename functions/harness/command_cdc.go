package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/operate/connect"
	"example.com/orders/knative"
	"example.com/orders/sql/cdc"
)

// The variables of the connectors' user at MySQL. Connectors read them in Kafka Connect's environment.
const (
	cdcUser     = "CDC_MYSQL_USER"
	cdcPassword = "CDC_MYSQL_PASSWORD" //nolint:gosec // a name
)

const cdcHelp = `Sets up, shows, stops or removes change data capture, in which Kafka Connect with Debezium publishes the events in the
place of the relays. CONNECT_URL has the address of Kafka Connect, such as http://127.0.0.1:8083. The connectors are those of
the overlay: give --overlay cdc or cdc-payment, also while relays still publish.`

func (p *program) cdc() *cobra.Command {
	return parent(
		&cobra.Command{
			GroupID: groupOperate, Use: "cdc", Short: "set up, show, stop or remove change data capture by Debezium (with --overlay cdc)", Long: cdcHelp,
			SuggestFor: []string{"debezium", "connect", "connectors", "prepare", "apply"},
		},
		p.command(&cobra.Command{
			Use: "prepare", Short: "give the outboxes the columns that the connectors read, and create the connectors' user",
			Long: `Gives the outboxes the columns that the connectors read, while everything runs. With CDC_MYSQL_USER and
CDC_MYSQL_PASSWORD it also creates this user with the least rights, for which the user of MYSQL_DSN needs CREATE USER and
the right to grant REPLICATION SLAVE, REPLICATION CLIENT, and SELECT on the outboxes.`,
			Example: `  harness cdc prepare --overlay cdc --dry-run
  CDC_MYSQL_USER=cdc CDC_MYSQL_PASSWORD=… harness cdc prepare --overlay cdc`,
		}, cdcPrepare),
		p.command(&cobra.Command{
			Use: "login", Short: "print the login of Kafka Connect, for its environment",
			Long: `Prints what Kafka Connect and its connectors log in to Kafka with, as sasl.jaas.config takes it: the principal connect with
KAFKA_USERS_SECRET, else KAFKA_SASL_USER. It holds the password. Connectors read it as CDC_KAFKA_LOGIN in the environment of Kafka
Connect, and the content of KAFKA_TLS_CA_FILE, if it is set, as CDC_KAFKA_CA.`,
			Example: `  harness cdc login --overlay cdc`,
		}, plain(cdcLogin)),
		p.command(&cobra.Command{
			Use: "apply", Short: "create the connectors or change their configuration, and wait until they follow the binary log",
			Example: `  CONNECT_URL=http://127.0.0.1:8083 harness cdc apply --overlay cdc`,
		}, plain(cdcApply)),
		p.command(&cobra.Command{
			Use: "status", Short: "show the connectors, and fail unless all of them run",
			Example: `  harness cdc status --overlay cdc`,
		}, plain(withConnectors(cdcStatus))),
		p.command(&cobra.Command{
			Use: "stop", Short: "stop the connectors; their positions stay",
			Example: `  harness cdc stop --overlay cdc`,
		}, plain(withConnectors(func(ctx context.Context, out streams, c *connect.Client, all []knative.Connector) error {
			return eachConnector(ctx, out, all, "stopped", c.Stop)
		}))),
		p.command(&cobra.Command{
			Use: "resume", Short: "start stopped and failed connectors where they were",
			Example: `  harness cdc resume --overlay cdc`,
		}, plain(withConnectors(func(ctx context.Context, out streams, c *connect.Client, all []knative.Connector) error {
			return eachConnector(ctx, out, all, "resumed", func(ctx context.Context, name string) error {
				return errors.Join(c.Resume(ctx, name), c.Restart(ctx, name))
			})
		}))),
		p.command(&cobra.Command{
			Use: "reset", Short: "start the connectors anew at the end of the binary log, when it no longer has their positions",
			Long: `Starts the connectors anew at the end of the binary log, when it no longer has their positions. They do not publish what was
stored before: publish-outbox relays it, and "harness outbox resend --since" shows and repairs what is missing.`,
			Example: `  harness cdc reset --overlay cdc`,
		}, plain(withConnectors(cdcReset))),
		p.command(&cobra.Command{
			Use: "remove", Short: "remove the connectors and the columns of the outboxes; relays must publish again",
			Long: `Removes the connectors and the columns of the outboxes; relays must publish again. Kafka Connect keeps the positions of the
connectors: if they come back, they read the whole binary log since then, and fail if a part of it was purged meanwhile. With
--forget they start at its end.`,
			Example: `  harness cdc remove --overlay cdc
  harness cdc remove --overlay cdc --forget`,
		}, cdcRemove),
	)
}

// captured returns the connectors of the overlay on a deployment's schemas, which connect to its Kafka as it does.
func captured(config map[string]string) ([]knative.Connector, error) {
	w, err := knative.Configured(config)
	if err != nil {
		return nil, err
	}
	if !w.Captures() {
		return nil, usage(errors.New("this wiring has no connectors: give --overlay cdc, or cdc-payment"))
	}
	client, err := kafka.HistoryClient(config)
	if err != nil {
		return nil, usage(err)
	}
	all := make([]knative.Connector, len(w.Connectors))
	for i, c := range w.Connectors {
		all[i] = c.WithSchemaPrefix(config["MYSQL_SCHEMA_PREFIX"]).WithHistoryClient(client)
	}
	return all, nil
}

// configured returns the configuration of a command about connectors. The overlay may be another than that of the harness,
// whose relays publish until the connectors do.
func configured(o options, needed need) (*deployment, []knative.Connector, error) {
	overlay := o.overlay
	if overlay != "" {
		o.environ = maps.Clone(o.environ)
		o.environ[knative.OverlayVariable] = ""
	}
	d, err := locate(o, needed)
	if err != nil {
		return nil, nil, err
	}
	if overlay != "" {
		d.config[knative.OverlayVariable] = overlay
	}
	all, err := captured(d.config)
	return d, all, err
}

type connectorStatuses func(context.Context) (map[string]connect.Status, error)

// statusesOf returns what asks Kafka Connect for the status of each connector of a wiring, by name; nil without connectors or
// CONNECT_URL.
func statusesOf(w *knative.Wiring, config map[string]string) (connectorStatuses, error) {
	address := config[connect.URLVariable]
	if address == "" || !w.Captures() {
		return nil, nil
	}
	c, err := connect.New(address)
	if err != nil {
		return nil, usage(err)
	}
	return func(ctx context.Context) (map[string]connect.Status, error) {
		all := map[string]connect.Status{}
		for _, one := range w.Connectors {
			if all[one.Name], err = c.Status(ctx, one.Name); err != nil {
				return nil, err
			}
		}
		return all, nil
	}, nil
}

// warnUncaptured logs what keeps the connectors of a wiring from publishing, as far as the database shows it: the events are
// relayed then, but late.
func warnUncaptured(ctx context.Context, w *knative.Wiring, pools *pools, log *slog.Logger) {
	for _, c := range w.Connectors {
		db, err := pools.get(c.Schema)
		if err == nil {
			err = cdc.Check(ctx, db)
		}
		var missing []string
		if err == nil {
			missing, err = cdc.Missing(ctx, db)
		}
		switch {
		case err != nil:
			log.Warn("change data capture cannot publish: events are relayed once they are older than OUTBOX_CDC_PATIENCE", "schema", c.Schema, "error", err)
		case len(missing) > 0:
			log.Warn("change data capture cannot publish before \"harness cdc prepare\" and \"harness cdc apply\": events are relayed once they are older than OUTBOX_CDC_PATIENCE", "schema", c.Schema)
		}
	}
}

// standing fails if a connector does not run.
func standing(ctx context.Context, statuses connectorStatuses) error {
	all, err := statuses(ctx)
	if err != nil {
		return err
	}
	var down []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name].State() != connect.Running {
			down = append(down, name)
		}
	}
	if len(down) > 0 {
		return fmt.Errorf("does not run %s", strings.Join(down, ", "))
	}
	return nil
}

type overConnectors func(context.Context, streams, *connect.Client, []knative.Connector) error

func withConnectors(do overConnectors) runner {
	return func(ctx context.Context, o options, out streams) error {
		_, all, err := configured(o, 0)
		if err != nil {
			return err
		}
		c, err := kafkaConnect(o)
		if err != nil {
			return err
		}
		return do(ctx, out, c, all)
	}
}

// kafkaConnect returns a client of the Kafka Connect at CONNECT_URL.
func kafkaConnect(o options) (*connect.Client, error) {
	c, err := connect.New(o.environ[connect.URLVariable])
	if err != nil {
		return nil, usage(err)
	}
	return c, nil
}

func eachConnector(ctx context.Context, out streams, all []knative.Connector, done string, do func(context.Context, string) error) error {
	var errs []error
	for _, c := range all {
		if err := do(ctx, c.Name); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintf(out.stdout, "%s: %s\n", c.Name, done)
	}
	return errors.Join(errs...)
}

// followsWithin bounds the wait for a connector that starts, which other work on its worker slows down.
const (
	followsWithin = 2 * time.Minute
	followsLook   = 300 * time.Millisecond
)

func cdcApply(ctx context.Context, o options, out streams) error {
	d, all, err := configured(o, 0)
	if err != nil {
		return err
	}
	if err := onOneServer(d.config, all); err != nil {
		return usage(err)
	}
	c, err := kafkaConnect(o)
	if err != nil {
		return err
	}
	return putConnectors(ctx, out, c, all)
}

// onOneServer fails if the outboxes of connectors are on several servers: all of them follow that of CDC_MYSQL_HOST.
func onOneServer(config map[string]string, all []knative.Connector) error {
	if !namesDatabase(config) {
		return nil
	}
	server, _, err := base.Server(config)
	if err != nil {
		return err
	}
	var names []string
	for _, c := range all {
		names = append(names, c.Schema)
	}
	parts, err := server.Parts(names...)
	if err != nil {
		return err
	}
	at := map[string]string{}
	for _, part := range parts {
		address, err := part.Address()
		if err != nil {
			return err
		}
		at[address] = part.From()
	}
	if len(at) > 1 {
		return fmt.Errorf("the connectors follow one server, that of CDC_MYSQL_HOST, and the outboxes are on %d, those of %s: "+
			"put them on one server, or have relays publish, with an overlay without cdc", len(at), strings.Join(slices.Sorted(maps.Values(at)), ", "))
	}
	return nil
}

func putConnectors(ctx context.Context, out streams, c *connect.Client, all []knative.Connector) error {
	for _, one := range all {
		if err := c.Put(ctx, one.Name, one.Config); err != nil {
			return err
		}
	}
	return eachConnector(ctx, out, all, "follows the binary log", func(ctx context.Context, name string) error { return follows(ctx, c, name) })
}

// follows waits until a connector runs and has stored a position: from then on it publishes every event.
func follows(ctx context.Context, c *connect.Client, name string) error {
	s, err := lookAt(ctx, c, name, func(ctx context.Context, s connect.Status) (bool, error) {
		switch s.State() {
		case connect.Failed:
			return false, fmt.Errorf("%s has failed: %s", name, s.Reason())
		case connect.Running:
			at, err := c.Position(ctx, name)
			return at.Offset != nil, err
		case connect.Stopped, connect.Paused:
			return false, c.Resume(ctx, name)
		case connect.Unassigned, connect.Restarting, connect.Absent: // it is on its way
		}
		return false, nil
	})
	if errors.Is(err, errStill) {
		return fmt.Errorf("%s does not follow the binary log after %s: it is %s: see the log of Kafka Connect", name, followsWithin, s.State())
	}
	return err
}

// errStill means that a connector was not as it should be within followsWithin.
var errStill = errors.New("the connector is still not as it should be")

// lookAt looks at a connector until holds returns true, and returns its last status. The error is errStill, or one of a request or
// of holds.
func lookAt(ctx context.Context, c *connect.Client, name string, holds func(context.Context, connect.Status) (bool, error)) (connect.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, followsWithin)
	defer cancel()
	look := time.NewTicker(followsLook)
	defer look.Stop()
	for {
		s, err := c.Status(ctx, name)
		if err != nil {
			return s, err
		}
		if held, err := holds(ctx, s); held || err != nil {
			return s, err
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return s, errStill
		}
	}
}

func cdcStatus(ctx context.Context, out streams, c *connect.Client, all []knative.Connector) error {
	row, flush := table(out.stdout, "CONNECTOR", "STATE", "WORKER", "POSITION", "REASON")
	failed := 0
	for _, one := range all {
		s, err := c.Status(ctx, one.Name)
		if err != nil {
			return err
		}
		var at connect.Position
		if s.Connector != connect.Absent {
			if at, err = c.Position(ctx, one.Name); err != nil {
				return err
			}
		}
		if s.State() != connect.Running {
			failed++
		}
		row(one.Name, s.State(), or(s.Worker, "-"), at, or(s.Reason(), "-"))
	}
	if err := flush(); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%s not running: publish-outbox relays what stays unpublished for OUTBOX_CDC_PATIENCE", counted(failed, "connector is", "connectors are"))
	}
	return nil
}

func cdcReset(ctx context.Context, out streams, c *connect.Client, all []knative.Connector) error {
	return eachConnector(ctx, out, all, "starts at the end of the binary log", func(ctx context.Context, name string) error {
		if err := forgetPosition(ctx, c, name); err != nil {
			return err
		}
		if err := c.Resume(ctx, name); err != nil {
			return err
		}
		return follows(ctx, c, name)
	})
}

// forgetPosition stops a connector and removes its position once its task is gone, which stores one until then.
func forgetPosition(ctx context.Context, c *connect.Client, name string) error {
	if err := c.Stop(ctx, name); err != nil {
		return err
	}
	s, err := lookAt(ctx, c, name, func(_ context.Context, s connect.Status) (bool, error) {
		return s.Connector == connect.Stopped && s.Task == connect.Absent, nil
	})
	if errors.Is(err, errStill) {
		return fmt.Errorf("%s has not stopped after %s, its task is %s: see the log of Kafka Connect", name, followsWithin, s.Task)
	}
	if err != nil {
		return err
	}
	return c.Forget(ctx, name)
}

func cdcLogin(_ context.Context, o options, out streams) error {
	d, _, err := configured(o, 0)
	if err != nil {
		return err
	}
	login, err := kafka.HistoryLogin(d.config)
	if err != nil {
		return usage(err)
	}
	_, err = fmt.Fprintln(out.stdout, login)
	return err
}
