package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"example.com/orders/functions/internal/kafka"
)

// need is what a command works with.
type need int

const (
	needsDatabase need = 1 << iota
	needsKafka
)

// reach finds what a command needs: servers that the environment names, else those of the harness that is running on
// the data folder, else ones of our own on that folder, which end with release.
func reach(ctx context.Context, o options, out streams, needed need) (s *servers, release func() error, err error) {
	s = &servers{config: map[string]string{}}
	for name, value := range o.environ {
		s.config[name] = value
	}
	missing := func() bool {
		return needed&needsDatabase != 0 && s.config["MYSQL_DSN"] == "" || needed&needsKafka != 0 && s.config["KAFKA_BROKERS"] == ""
	}
	release = func() error { return nil }
	if !o.ephemeral {
		running, err := findRunning(o.data)
		if err != nil {
			return nil, nil, err
		}
		if running != nil {
			s.api = "http://" + reachable(running.Addr)
			s.config["MYSQL_DSN"] = or(s.config["MYSQL_DSN"], running.DSN)
			s.config["KAFKA_BROKERS"] = or(s.config["KAFKA_BROKERS"], running.Brokers)
		}
	}
	if missing() {
		data, err := openData(o)
		if err != nil {
			return nil, nil, err
		}
		release = func() error {
			stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
			defer cancel()
			return errors.Join(s.stop(stopping), data.close())
		}
		if needed&needsDatabase != 0 {
			err = s.startDatabase(ctx, o, data, o.logger(out.stderr))
		}
		if err == nil && needed&needsKafka != 0 {
			err = s.startKafka(o, data)
		}
		if err != nil {
			return nil, nil, errors.Join(err, release())
		}
	}
	if brokers := s.config["KAFKA_BROKERS"]; brokers != "" {
		s.brokers = strings.Split(brokers, ",")
		if err := kafka.Secure(s.config); err != nil {
			return nil, nil, errors.Join(err, release())
		}
	}
	return s, release, nil
}

// findRunning returns where the harness on a data folder is, nil when none is running there.
func findRunning(path string) (*runFile, error) {
	free, err := isFree(path)
	if err != nil || free {
		return nil, err
	}
	run, err := readRun(path)
	if err != nil {
		return nil, fmt.Errorf("the harness on %s has not started yet: try again when it is ready (%w)", path, err)
	}
	return &run, nil
}
