package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"

	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/knative"
	"example.com/orders/sql/embedded"
	"example.com/orders/sql/migrate"
)

// servers are the Kafka and the database that the functions work with: real ones that the environment names, or ones
// of our own.
type servers struct {
	config   map[string]string // the environment, with the addresses filled in
	brokers  []string
	kafka    string // for the banner
	database string // for the banner
	api      string // http://host:port of the harness that is running already, for the commands beside it

	mysql *keptServer
	kfake *kfake.Cluster
}

// The Kafka of our own listens on the first of these ports that is free. They are below the range from which outgoing
// connections take theirs, so that nothing else has it at the next start.
const (
	firstKafkaPort = 19092
	kafkaPorts     = 1000
)

// startServers starts what the environment does not name.
func startServers(ctx context.Context, o options, data *dataFolder, log *slog.Logger) (*servers, error) {
	s := &servers{config: map[string]string{}}
	for name, value := range o.environ {
		s.config[name] = value
	}
	// What is wrong with the brokers' addresses is told at once.
	if err := s.startKafka(o, data); err != nil {
		return nil, errors.Join(err, s.stop(ctx))
	}
	if err := s.startDatabase(ctx, o, data, log); err != nil {
		return nil, errors.Join(err, s.stop(ctx))
	}
	return s, nil
}

func (s *servers) startDatabase(ctx context.Context, o options, data *dataFolder, log *slog.Logger) error {
	if s.config["MYSQL_DSN"] != "" {
		s.database = "the server of MYSQL_DSN"
		return nil
	}
	server, err := embedded.Start(ctx, embedded.Options{
		Dir: filepath.Join(data.path, "mysql"), Fast: o.ephemeral,
		Progress: func(line string) { log.Info(line) },
	})
	if err != nil {
		return fmt.Errorf("start a database server: %w", err)
	}
	s.mysql = keep(server, log)
	s.config["MYSQL_DSN"] = server.DSN()
	s.database = server.Version() + " of our own, " + server.DSN()
	return nil
}

func (s *servers) startKafka(o options, data *dataFolder) error {
	if brokers := s.config["KAFKA_BROKERS"]; brokers != "" {
		if o.kafkaPassword {
			return errors.New("--kafka-password is for the Kafka in this process, and KAFKA_BROKERS names another one: leave out one of the two")
		}
		var err error
		if s.brokers, err = kafka.ParseBrokers(brokers); err != nil {
			return err
		}
		s.kafka = strings.Join(s.brokers, ",")
		return kafka.Secure(s.config)
	}
	folder := filepath.Join(data.path, "kafka")
	settings := []kfake.Opt{kfake.NumBrokers(1), kfake.DataDir(folder), kfake.ListenFn(listenForKafka)}
	if !o.ephemeral {
		settings = append(settings, kfake.SyncWrites())
	}
	if o.kafkaPassword {
		password, err := s.askForPassword(folder)
		if err != nil {
			return err
		}
		settings = append(settings, password...)
	} else {
		for _, name := range []string{"KAFKA_TLS", "KAFKA_SASL_MECHANISM", "KAFKA_SASL_USER", "KAFKA_SASL_PASSWORD"} {
			delete(s.config, name) // they are for another Kafka
		}
	}
	var err error
	for port := firstKafkaPort; port < firstKafkaPort+kafkaPorts; port++ {
		s.kfake, err = kfake.NewCluster(append(slices.Clone(settings), kfake.Ports(port))...)
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("start Kafka in this process, kept in %s, on a port from %d to %d (or set KAFKA_BROKERS): %w",
			data.path, firstKafkaPort, firstKafkaPort+kafkaPorts-1, err)
	}
	s.brokers = s.kfake.ListenAddrs()
	s.config["KAFKA_BROKERS"] = strings.Join(s.brokers, ",")
	s.kafka = "in this process, " + s.config["KAFKA_BROKERS"]
	return nil
}

// askForPassword makes the Kafka of our own ask every client for what KAFKA_SASL_USER and KAFKA_SASL_PASSWORD say, and its
// clients in this process give it.
func (s *servers) askForPassword(folder string) ([]kfake.Opt, error) {
	mechanism, user, password := s.config["KAFKA_SASL_MECHANISM"], s.config["KAFKA_SASL_USER"], s.config["KAFKA_SASL_PASSWORD"]
	if mechanism == "" || s.config["KAFKA_TLS"] == "true" {
		return nil, errors.New("--kafka-password: set KAFKA_SASL_MECHANISM to SCRAM-SHA-256 or SCRAM-SHA-512, with KAFKA_SASL_USER and KAFKA_SASL_PASSWORD, and leave KAFKA_TLS out; clients set the same")
	}
	if err := kafka.Secure(s.config); err != nil {
		return nil, fmt.Errorf("--kafka-password: %w", err)
	}
	// What it has kept of an earlier password would count, and the new one would not.
	if err := os.Remove(filepath.Join(folder, "sasl.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("--kafka-password: forget the one before: %w", err)
	}
	return []kfake.Opt{kfake.EnableSASL(), kfake.Superuser(mechanism, user, password)}, nil
}

// migrate brings the schemas to their newest version.
func (s *servers) migrate(ctx context.Context) ([]migrate.Applied, error) {
	server, _, err := base.Server(s.config)
	if err != nil {
		return nil, err
	}
	return migrate.Up(ctx, server)
}

// widen sees to topics that were made when they took smaller records: those of our own Kafka are changed, those of another
// one are its operators' business. What could not be written to them is cut, so that this stops nothing.
func (s *servers) widen(wiring *knative.Wiring, log *slog.Logger) {
	small, err := kafka.Undersized(s.brokers, wiring.Topics)
	if err == nil && s.kfake != nil {
		err = kafka.Widen(s.brokers, small)
		small = nil
	}
	if err != nil {
		log.Warn("the sizes of the topics' records are not as declared, or not known", "error", err)
	}
	for _, t := range small {
		log.Warn("topic takes smaller records than it should, so that large dead letters are cut", "topic", t.Name, "run", kafka.WidenCommand(s.brokers, t))
	}
}

// stop ends the servers of our own.
func (s *servers) stop(ctx context.Context) error {
	if s.kfake != nil {
		s.kfake.Close()
	}
	if s.mysql != nil {
		return s.mysql.stop(ctx)
	}
	return nil
}

// lost says why the database server of our own is given up.
func (s *servers) lost() <-chan error {
	if s.mysql == nil {
		return nil
	}
	return s.mysql.lost
}
