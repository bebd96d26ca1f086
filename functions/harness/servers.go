package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"

	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/web/secret"
	"example.com/orders/knative"
	"example.com/orders/sql/embedded"
	"example.com/orders/sql/migrate"
	"example.com/orders/sql/privilege"
	"example.com/orders/sql/schema"
)

// servers are the Kafka and the database of the functions: those that the environment names, or the harness's own.
type servers struct {
	config   map[string]string // the environment, completed with the addresses
	brokers  []string
	kafka    string // for the banner
	database string // for the banner
	payments string // the payment gateway, for the banner; empty if none is asked
	api      string // http://host:port of a running harness, for its commands
	ops      string // the address of the port for those who run this harness; empty without one
	certFile string // the file with its certificate; empty without HTTPS

	kafkaUsers kafka.UsersSecret // of the principals; nil if all clients log in as KAFKA_SASL_USER

	logins *privilege.Logins // of the database's users; nil if all log in as the DSNs say

	mysql *keptServer
	bank  *ownBank
	kfake *kfake.Cluster
}

// The in-process Kafka listens on the first free port of these. They are below the range of outgoing connections, so that
// the port is free at the next start.
const (
	firstKafkaPort = 19092
	kafkaPorts     = 1000
)

// Folders of the harness's own servers, within its data folder.
const databaseFolder, kafkaFolder = "mysql", "kafka"

// startServers starts the servers that the environment does not name.
func startServers(ctx context.Context, o options, data *dataFolder, log *slog.Logger) (*servers, error) {
	s := &servers{config: map[string]string{}}
	for name, value := range o.environ {
		s.config[name] = value
	}
	// Errors in the brokers' addresses are reported at once.
	if err := s.startKafka(o, data); err != nil {
		return nil, errors.Join(err, s.stop(ctx))
	}
	if err := s.startDatabase(ctx, o, data, log); err != nil {
		return nil, errors.Join(err, s.stop(ctx))
	}
	var err error
	if s.logins, err = readLogins(s.config); err != nil {
		return nil, errors.Join(err, s.stop(ctx))
	}
	if s.logins == nil && s.mysql != nil {
		s.logins = privilege.RandomLogins()
	}
	return s, nil
}

func (s *servers) startDatabase(ctx context.Context, o options, data *dataFolder, log *slog.Logger) error {
	if given := givenDatabases(s.config); len(given) > 0 {
		s.database = "the server of " + strings.Join(given, ", that of ")
		return nil
	}
	s.drop("MYSQL_TLS_CA_FILE", "MYSQL_TLS_CERT_FILE", "MYSQL_TLS_KEY_FILE") // they are for another server
	server, err := embedded.Start(ctx, embedded.Options{
		Dir: filepath.Join(data.path, databaseFolder), Fast: o.ephemeral,
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

// givenDatabases lists the variables that name database servers. Without any, all schemas are on a private one.
func givenDatabases(config map[string]string) []string {
	return slices.DeleteFunc(schema.Variables(), func(name string) bool { return !secret.Given(config, name) })
}

// namesDatabase returns whether the environment names the database servers.
func namesDatabase(config map[string]string) bool { return len(givenDatabases(config)) > 0 }

func (s *servers) startKafka(o options, data *dataFolder) error {
	if brokers := s.config["KAFKA_BROKERS"]; brokers != "" {
		if o.kafkaPassword {
			return errors.New("--kafka-password is for the in-process Kafka, and KAFKA_BROKERS names another one: remove one of the two")
		}
		var err error
		if s.brokers, err = kafka.ParseBrokers(brokers); err != nil {
			return err
		}
		if s.kafkaUsers, err = kafka.Users(s.config); err != nil {
			return err
		}
		s.kafka = strings.Join(s.brokers, ",")
		return kafka.Secure(s.config)
	}
	folder := filepath.Join(data.path, kafkaFolder)
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
		s.drop(kafka.UsersVariable, kafka.UsersVariable+secret.FileSuffix) // it has no rules that principals would need
	} else {
		// They are for another Kafka.
		s.drop("KAFKA_TLS", "KAFKA_TLS_CA_FILE", "KAFKA_TLS_CERT_FILE", "KAFKA_TLS_KEY_FILE",
			"KAFKA_SASL_MECHANISM", "KAFKA_SASL_USER", "KAFKA_SASL_PASSWORD", "KAFKA_SASL_PASSWORD_FILE",
			kafka.UsersVariable, kafka.UsersVariable+"_FILE")
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

// opsOrigin returns the URL of the port for those who run the harness.
func (s *servers) opsOrigin() string {
	scheme := "http"
	if s.certFile != "" {
		scheme = "https"
	}
	return scheme + "://" + reachable(s.ops)
}

// drop removes variables.
func (s *servers) drop(names ...string) {
	for _, name := range names {
		delete(s.config, name)
	}
}

// askForPassword makes the in-process Kafka require the login in KAFKA_SASL_USER and KAFKA_SASL_PASSWORD, which its clients
// in this process use, too.
func (s *servers) askForPassword(folder string) ([]kfake.Opt, error) {
	mechanism, user := s.config["KAFKA_SASL_MECHANISM"], s.config["KAFKA_SASL_USER"]
	password, err := secret.Read(s.config, "KAFKA_SASL_PASSWORD")
	if err != nil {
		return nil, err
	}
	if mechanism == "" || s.config["KAFKA_TLS"] == "true" {
		return nil, errors.New("--kafka-password: set KAFKA_SASL_MECHANISM to SCRAM-SHA-256 or SCRAM-SHA-512, with KAFKA_SASL_USER and KAFKA_SASL_PASSWORD, and leave KAFKA_TLS out; clients set the same")
	}
	if err := kafka.Secure(s.config); err != nil {
		return nil, fmt.Errorf("--kafka-password: %w", err)
	}
	// A stored earlier password would take precedence over the new one.
	if err := os.Remove(filepath.Join(folder, "sasl.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("--kafka-password: remove the earlier one: %w", err)
	}
	return []kfake.Opt{kfake.EnableSASL(), kfake.Superuser(mechanism, user, password)}, nil
}

// migrate migrates the schemas to their newest version, and then makes the users of the database, if it has any.
func (s *servers) migrate(ctx context.Context) (applied []migrate.Applied, users []privilege.Change, err error) {
	server, _, err := base.Server(s.config)
	if err != nil {
		return nil, nil, err
	}
	if applied, err = migrate.Up(ctx, server); err != nil || s.logins == nil {
		return applied, nil, err
	}
	users, err = privilege.Apply(ctx, server, s.logins)
	return applied, users, err
}

// administrator stands for the user of MYSQL_DSN, who migrates the schemas and makes the other users.
const administrator = ""

// as returns the configuration of a function or a tool: MYSQL_DSN and the variables of single schemas are the logins of its user
// to the servers of its schemas, and those of others are left out.
func (s *servers) as(user string) (map[string]string, error) {
	if s.logins == nil || user == administrator {
		return s.config, nil
	}
	server, _, err := base.Server(s.config)
	if err != nil {
		return nil, err
	}
	if server, err = s.logins.Server(server, user); err != nil {
		return nil, err
	}
	config := maps.Clone(s.config)
	for _, name := range append(schema.Variables(), privilege.SecretVariable) {
		delete(config, name)
		delete(config, name+secret.FileSuffix)
	}
	delete(config, privilege.FolderVariable)
	if server.DSN != "" {
		config[schema.Variable] = server.DSN
	}
	for name, own := range server.Own {
		config[schema.VariableOf(name)] = own.DSN
	}
	return config, nil
}

// authorize makes the principals of Kafka with their rules, if each client logs in as one.
func (s *servers) authorize(wiring *knative.Wiring) ([]string, error) {
	if s.kafkaUsers == nil {
		return nil, nil
	}
	return kafka.Authorize(s.brokers, kafka.Principals(wiring, s.config["KAFKA_TOPIC_PREFIX"]), s.kafkaUsers)
}

// principal returns the login of a client of Kafka, nil if it is that of this process.
func (s *servers) principal(name string) *kafka.Login {
	return s.kafkaUsers.Login(s.config["KAFKA_TOPIC_PREFIX"] + name)
}

// onlyAs replaces the secret of all principals by the login of one, for a process of its own.
func (s *servers) onlyAs(config map[string]string, name string) {
	if login := s.principal(name); login != nil {
		config["KAFKA_SASL_USER"], config["KAFKA_SASL_PASSWORD"] = login.User, login.Password
		for _, name := range []string{kafka.UsersVariable, kafka.UsersVariable + secret.FileSuffix, "KAFKA_SASL_PASSWORD" + secret.FileSuffix} {
			delete(config, name)
		}
	}
}

// readLogins reads the logins of the database users; their secret may be in a file.
func readLogins(config map[string]string) (*privilege.Logins, error) {
	text, err := secret.Read(config, privilege.SecretVariable)
	if err != nil {
		return nil, err
	}
	return privilege.ReadLogins(map[string]string{privilege.SecretVariable: text, privilege.FolderVariable: config[privilege.FolderVariable]})
}

// widen handles topics whose record limit is smaller than declared: it raises it in the in-process Kafka, and only logs it
// for another Kafka, which belongs to its operators. Dead letters that are too large are cut, so that this blocks nothing.
func (s *servers) widen(wiring *knative.Wiring, log *slog.Logger) {
	small, err := kafka.Undersized(s.brokers, wiring.Topics)
	if err == nil && s.kfake != nil {
		err = kafka.Widen(s.brokers, small)
		small = nil
	}
	if err != nil {
		log.Warn("cannot check or raise the record limits of the topics", "error", err)
	}
	for _, t := range small {
		log.Warn("topic takes smaller records than declared, so large dead letters will be cut", "topic", t.Name, "run", kafka.WidenCommand(s.brokers, t))
	}
}

// stop stops the harness's own servers.
func (s *servers) stop(ctx context.Context) error {
	var errs []error
	if s.bank != nil {
		errs = append(errs, s.bank.stop())
	}
	if s.kfake != nil {
		s.kfake.Close()
	}
	if s.mysql != nil {
		errs = append(errs, s.mysql.stop(ctx))
	}
	return errors.Join(errs...)
}

// lost returns why the private database server was given up.
func (s *servers) lost() <-chan error {
	if s.mysql == nil {
		return nil
	}
	return s.mysql.lost
}
