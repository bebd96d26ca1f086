package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/web/secret"
	"example.com/orders/knative"
	"example.com/orders/sql/embedded"
	"example.com/orders/sql/privilege"
	"example.com/orders/sql/schema"
)

// need is the servers that a command uses.
type need int

const (
	needsDatabase need = 1 << iota
	needsKafka
	needsGateway // if the wiring asks one whose ledger can be read
	makesMissing // on a new folder too, which a command that only looks at things leaves alone
)

// deployment is the target of a command.
type deployment struct {
	options options
	needed  need
	config  map[string]string // the environment, completed with the variables of the harness on the data folder
	api     string            // http://host:port of that harness while it runs
	known   *runFile          // of that harness; nil if it does not count
}

// locateWired is locate with the wiring of the deployment.
func locateWired(o options, needed need) (*deployment, *knative.Wiring, error) {
	d, err := locate(o, needed)
	if err != nil {
		return nil, nil, err
	}
	wiring, err := knative.Configured(d.config)
	return d, wiring, err
}

// locate finds the deployment for a command. It is that of the harness which runs on the data folder, or ran there last, if
// the folder was named or its servers are needed; otherwise, and always with --ephemeral, that of the environment. It
// refuses an environment that contradicts the harness.
func locate(o options, needed need) (*deployment, error) {
	d := &deployment{options: o, needed: needed, config: maps.Clone(o.environ)}
	if o.ephemeral {
		return d, nil
	}
	running, err := findRunning(o.data)
	if err != nil {
		return nil, err
	}
	if running != nil {
		d.known = running
		if d.api, err = running.origin(running.Addr, o.environ[caVariable]); err != nil {
			return nil, err
		}
	} else if o.dataNamed || d.lacks() {
		last, err := readRun(o.data)
		if errors.Is(err, os.ErrNotExist) {
			return d, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the deployment of the last harness on %s: %w", o.data, err)
		}
		d.known = &last
	}
	return d, usage(d.complete())
}

// lacks returns whether the address of a needed server is unknown.
func (d *deployment) lacks() bool {
	return d.lacksBank() || d.needed&needsDatabase != 0 && !namesDatabase(d.config) || d.needed&needsKafka != 0 && d.config["KAFKA_BROKERS"] == ""
}

// lacksBank returns whether the harness had a bank of its own, which has ended with it.
func (d *deployment) lacksBank() bool {
	return d.needed&needsGateway != 0 && d.api == "" && d.known != nil && slices.Contains(d.known.Own, gatewayURL)
}

// complete adds the variables of the harness, and refuses different ones.
func (d *deployment) complete() error {
	if d.known == nil {
		return nil
	}
	theirs := d.known.variables(d.api != "")
	theirs[knative.OverlayVariable] = or(theirs[knative.OverlayVariable], knative.BaseName)
	var different []string
	for _, name := range adoptedVariables {
		if d.config[name] == "" && d.config[strings.TrimSuffix(name, secret.FileSuffix)] == "" {
			d.config[name] = theirs[name]
		}
	}
	for _, name := range deploymentVariables {
		value, err := secret.Read(d.config, name) // the DSN may be in a file
		if err != nil {
			return err
		}
		if value == "" {
			d.config[name] = theirs[name]
			continue
		}
		ours, err := canonical(name, value)
		if err != nil {
			return err
		}
		if ours != theirs[name] {
			different = append(different, fmt.Sprintf("%s is %s here and %s there", name, orNotSet(ours), orNotSet(theirs[name])))
		}
	}
	if len(different) > 0 {
		return fmt.Errorf("the environment describes another deployment than the harness on %s: %s; unset the different variables to act on that harness, "+
			"or add --ephemeral to use only the environment", d.options.data, strings.Join(different, ", "))
	}
	for _, name := range trustVariables {
		if d.config[name] == "" && theirs[name] != "" {
			d.config[name] = theirs[name]
			if err := os.Setenv(name, theirs[name]); err != nil {
				return fmt.Errorf("load the certificates that the harness on %s trusts: %w", d.options.data, err)
			}
		}
	}
	return d.askForSecrets(theirs)
}

func orNotSet(value string) string {
	if value == "" {
		return "not set"
	}
	return fmt.Sprintf("%q", value)
}

// askForSecrets fails if the command needs a password, which the harness does not store.
func (d *deployment) askForSecrets(theirs map[string]string) error {
	var missing []string
	for _, name := range schema.Variables() {
		had := name == schema.Variable && d.known.Password || slices.Contains(d.known.Passwords, name)
		if !had || theirs[name] == "" || secret.Given(d.options.environ, name) || d.config[name+secret.FileSuffix] != "" {
			continue
		}
		c, err := mysql.ParseDSN(theirs[name])
		if err != nil {
			return fmt.Errorf("read the DSN of the harness on %s: %w", d.options.data, err)
		}
		c.Passwd = "PASSWORD"
		missing = append(missing, name+"='"+c.FormatDSN()+"'")
	}
	if d.needed&needsDatabase != 0 && len(missing) > 0 {
		return fmt.Errorf("the harness on %s has a password for its database, which it does not store: set %s with it", d.options.data, strings.Join(missing, " and "))
	}
	if d.needed&needsGateway != 0 && d.known.Token && !secret.Given(d.config, gatewayToken) {
		return fmt.Errorf("the harness on %s has a token for its payment gateway, which it does not store: set %s to it", d.options.data, gatewayToken)
	}
	if d.needed&needsKafka != 0 && d.config["KAFKA_SASL_MECHANISM"] != "" && !secret.Given(d.config, "KAFKA_SASL_PASSWORD") {
		return fmt.Errorf("the harness on %s has a password for Kafka, which it does not store: set KAFKA_SASL_PASSWORD to that of %s", d.options.data, d.config["KAFKA_SASL_USER"])
	}
	return nil
}

// checkData fails if no harness has ever kept the servers that the command needs on its folder: they would be new and empty.
func (d *deployment) checkData() error {
	folder := d.options.data
	switch {
	case d.needed&makesMissing != 0:
		return nil
	case d.options.ephemeral:
		return usage(errors.New("--ephemeral uses only the environment: set MYSQL_DSN and KAFKA_BROKERS, or leave --ephemeral out"))
	case d.needed&needsDatabase != 0 && !namesDatabase(d.config) && !embedded.Initialised(filepath.Join(folder, databaseFolder)):
		return unreachable(fmt.Errorf("no harness has kept a database in %s: give the folder of one that has with --data, or set MYSQL_DSN", folder))
	case d.needed&needsKafka != 0 && d.config["KAFKA_BROKERS"] == "":
		if _, err := os.Stat(filepath.Join(folder, kafkaFolder)); err != nil {
			return unreachable(fmt.Errorf("no harness has kept a Kafka in %s: give the folder of one that has with --data, or set KAFKA_BROKERS (%w)", folder, err))
		}
	}
	return nil
}

// reach locates a deployment and connects to it.
func reach(ctx context.Context, o options, out streams, needed need) (s *servers, release func() error, err error) {
	d, err := locate(o, needed)
	if err != nil {
		return nil, nil, err
	}
	return d.connect(ctx, out)
}

// withPools passes the pools of a deployment's schemas to do, and closes them after it.
func (d *deployment) withPools(ctx context.Context, out streams, do func(*pools) error) error {
	return d.withPoolsOf(ctx, out, privilege.Operator, func(_ *servers, pools *pools) error { return do(pools) })
}

// withPoolsOf is withPools for a tool of sql/privilege, or for administrator, which gets the servers, too.
func (d *deployment) withPoolsOf(ctx context.Context, out streams, tool string, do func(*servers, *pools) error) (err error) {
	s, release, err := d.connect(ctx, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	pools, err := newPools(s, tool)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pools.close()) }()
	return do(s, pools)
}

// connect returns the servers of a deployment, with the logins of its environment: without them, commands log in as MYSQL_DSN
// and KAFKA_SASL_USER say. It starts missing servers on the data that a harness has left in the folder; they end with release.
func (d *deployment) connect(ctx context.Context, out streams) (s *servers, release func() error, err error) {
	s = &servers{config: d.config, api: d.api}
	if d.needed&needsDatabase != 0 {
		if s.logins, err = readLogins(d.config); err != nil {
			return nil, nil, usage(err)
		}
	}
	release = func() error { return nil }
	if d.lacks() {
		if err := d.checkData(); err != nil {
			return nil, nil, err
		}
		data, err := openData(d.options)
		if err != nil {
			return nil, nil, err
		}
		release = func() error {
			stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
			defer cancel()
			return errors.Join(s.stop(stopping), data.close())
		}
		if d.needed&needsDatabase != 0 {
			err = s.startDatabase(ctx, d.options, data, d.options.logger(out.stderr))
		}
		if err == nil && d.needed&needsKafka != 0 {
			err = s.startKafka(d.options, data)
		}
		if err == nil && d.lacksBank() {
			err = s.startBank(data, d.options.logger(out.stderr))
		}
		if err != nil {
			return nil, nil, errors.Join(err, release())
		}
	}
	if d.needed&needsKafka != 0 {
		if s.brokers, err = kafka.ParseBrokers(s.config["KAFKA_BROKERS"]); err != nil {
			return nil, nil, errors.Join(err, release())
		}
		if err := kafka.Secure(s.config); err != nil {
			return nil, nil, errors.Join(err, release())
		}
		if s.kafkaUsers, err = kafka.Users(s.config); err != nil {
			return nil, nil, errors.Join(usage(err), release())
		}
	}
	return s, release, nil
}
