package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"

	"github.com/go-sql-driver/mysql"

	"example.com/orders/functions/internal/messaging/kafka"
)

// need is what a command works with.
type need int

const (
	needsDatabase need = 1 << iota
	needsKafka
)

// deployment is what a command acts on.
type deployment struct {
	options options
	needed  need
	config  map[string]string // the variables of the environment, with those of the harness on the data folder
	api     string            // http://host:port of that harness while it runs
	known   *runFile          // of that harness; nil when it does not count
}

// locate finds the deployment that a command acts on: that of the harness which runs on the data folder, or which ran
// there last, when the folder was named or is needed for its servers; else that of the environment, which alone counts
// with --ephemeral. It refuses an environment that contradicts the harness.
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
		d.known, d.api = running, "http://"+reachable(running.Addr)
	} else if o.dataNamed || d.lacks() {
		last, err := readRun(o.data)
		if errors.Is(err, os.ErrNotExist) {
			return d, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read which deployment the last harness on %s had: %w", o.data, err)
		}
		d.known = &last
	}
	return d, d.complete()
}

// lacks tells whether the command needs a server of which the address is not known.
func (d *deployment) lacks() bool {
	return d.needed&needsDatabase != 0 && d.config["MYSQL_DSN"] == "" || d.needed&needsKafka != 0 && d.config["KAFKA_BROKERS"] == ""
}

// complete fills in the variables of the harness, and refuses those that differ.
func (d *deployment) complete() error {
	if d.known == nil {
		return nil
	}
	theirs := d.known.variables(d.api != "")
	var different []string
	for _, name := range deploymentVariables {
		if d.config[name] == "" {
			d.config[name] = theirs[name]
			continue
		}
		ours, err := canonical(name, d.config[name])
		if err != nil {
			return err
		}
		if ours != theirs[name] {
			different = append(different, fmt.Sprintf("%s is %s here and %s there", name, orNotSet(ours), orNotSet(theirs[name])))
		}
	}
	if len(different) > 0 {
		return fmt.Errorf("the environment is of another deployment than the harness on %s: %s; unset what differs to act on that harness, "+
			"or add --ephemeral to act on what the environment alone says", d.options.data, strings.Join(different, ", "))
	}
	for _, name := range trustVariables {
		if d.config[name] == "" && theirs[name] != "" {
			d.config[name] = theirs[name]
			if err := os.Setenv(name, theirs[name]); err != nil {
				return fmt.Errorf("trust what the harness on %s trusts: %w", d.options.data, err)
			}
		}
	}
	return d.askForSecrets(theirs["MYSQL_DSN"])
}

func orNotSet(value string) string {
	if value == "" {
		return "not set"
	}
	return fmt.Sprintf("%q", value)
}

// askForSecrets fails when the command needs a password that the harness does not write down.
func (d *deployment) askForSecrets(dsn string) error {
	if d.needed&needsDatabase != 0 && d.known.Password && d.options.environ["MYSQL_DSN"] == "" && dsn != "" {
		c, err := mysql.ParseDSN(dsn)
		if err != nil {
			return fmt.Errorf("read the DSN of the harness on %s: %w", d.options.data, err)
		}
		c.Passwd = "PASSWORD"
		return fmt.Errorf("the harness on %s has a password for its database, which it does not write down: set MYSQL_DSN='%s' with it", d.options.data, c.FormatDSN())
	}
	if d.needed&needsKafka != 0 && d.config["KAFKA_SASL_MECHANISM"] != "" && d.config["KAFKA_SASL_PASSWORD"] == "" {
		return fmt.Errorf("the harness on %s has a password for Kafka, which it does not write down: set KAFKA_SASL_PASSWORD to that of %s", d.options.data, d.config["KAFKA_SASL_USER"])
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

// connect returns the servers of a deployment. Those that nobody runs are started on the data folder and end with release.
func (d *deployment) connect(ctx context.Context, out streams) (s *servers, release func() error, err error) {
	s = &servers{config: d.config, api: d.api}
	release = func() error { return nil }
	if d.lacks() {
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
	}
	return s, release, nil
}
