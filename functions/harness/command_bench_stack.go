package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/google/uuid"

	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/registry"
	"example.com/orders/functions/internal/operate/bench"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

// benchStack is what bench has started to be measured: one harness, or several on the same data.
type benchStack struct {
	options   options // by which other commands reach the first of them
	members   []*benchMember
	temporary bool // the data, on real servers too, is removed at the end
}

// benchSize is how large a stack is.
type benchSize struct {
	partitions int // of each topic; 0 for what the manifests say
	members    int // harnesses, which share the consumer groups and the outboxes

	fill func(context.Context, bench.Target, []knative.KafkaSource) error // writes ended orders; nil for none
}

// startStack starts harnesses and waits until all are ready. Its data is removed at the end, unless it is to be kept in the
// folder that the user has named.
func startStack(ctx context.Context, o options, size benchSize, keep bool, out streams) (s *benchStack, err error) {
	if size.members > 1 && (!namesDatabase(o.environ) || o.environ["KAFKA_BROKERS"] == "") {
		return nil, usage(fmt.Errorf("--members %d: the servers that a harness brings along end with it and are its own: set MYSQL_DSN and KAFKA_BROKERS to servers that all share", size.members))
	}
	if keep {
		if err := checkNew(o); err != nil {
			return nil, usage(err)
		}
	}
	s = &benchStack{options: o, temporary: !keep}
	s.options.ephemeral, s.options.environ = false, maps.Clone(o.environ)
	if s.temporary {
		if s.options.data, err = os.MkdirTemp("", "orders-bench-"); err != nil {
			return nil, fmt.Errorf("make a temporary data folder: %w", err)
		}
		name := "bench" + strings.ReplaceAll(uuid.NewString(), "-", "")[:8]
		s.options.environ["MYSQL_SCHEMA_PREFIX"] = name + "_"
		s.options.environ["KAFKA_TOPIC_PREFIX"] = name + "."
	}
	if err := s.registerSchemas(ctx); err != nil {
		return nil, errors.Join(err, s.end())
	}
	if size.partitions > 0 {
		if err := s.createTopics(ctx, size.partitions, out); err != nil {
			return nil, errors.Join(err, s.end())
		}
	}
	if size.fill != nil {
		if err := s.fill(ctx, size.fill, out); err != nil {
			return nil, errors.Join(err, s.end())
		}
	}
	if err := s.launch(ctx, size.members, out); err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

// checkNew fails if a stack in the folder and on the servers that the user has named could be somebody's, whose data the load
// would mix with.
func checkNew(o options) error {
	entries, err := os.ReadDir(o.data)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the data folder (--data): %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty, and bench keeps its stack in a new folder: name another with --data, or leave --data out; to measure the harness that runs there, add --running", o.data)
	}
	named := map[string]string{"MYSQL_SCHEMA_PREFIX": strings.Join(givenDatabases(o.environ), " and ")}
	if o.environ["KAFKA_BROKERS"] != "" {
		named["KAFKA_TOPIC_PREFIX"] = "KAFKA_BROKERS"
	}
	for prefix, server := range named {
		if server != "" && o.environ[prefix] == "" {
			return fmt.Errorf("--data keeps the stack on the server of %s too: set %s to a prefix that nothing else has, or leave --data out", server, prefix)
		}
	}
	return nil
}

// where says which places have the data of the stack, and whether it stays there.
func (s *benchStack) where() string {
	text := s.options.data
	if namesDatabase(s.options.environ) {
		text += ", the schemas " + s.options.environ["MYSQL_SCHEMA_PREFIX"] + "*"
	}
	if s.options.environ["KAFKA_BROKERS"] != "" {
		text += ", the topics " + s.options.environ["KAFKA_TOPIC_PREFIX"] + "*"
	}
	if s.temporary {
		return text + ", and are removed with that now: --data FOLDER keeps them"
	}
	return text + ", where they stay: harness up --data " + s.options.data + " shows them"
}

// createTopics makes the topics before a harness does, which leaves those alone that are there. Kafka of our own keeps
// them in the data folder until the harness starts it again.
func (s *benchStack) createTopics(ctx context.Context, partitions int, out streams) (err error) {
	ctx, cancel := context.WithTimeout(ctx, benchStartWithin)
	defer cancel()
	wiring, err := knative.Configured(s.options.environ)
	if err != nil {
		return err
	}
	for i := range wiring.Topics {
		wiring.Topics[i].Partitions = int32(partitions)
	}
	// As the harness itself will: what the last one on the folder had does not count.
	d := &deployment{options: s.options, needed: needsKafka | makesMissing, config: maps.Clone(s.options.environ)}
	servers, release, err := d.connect(ctx, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := kafka.EnsureTopics(ctx, servers.brokers, wiring.Topics); err != nil {
		return err
	}
	admin, err := benchAdmin(servers.brokers)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, admin.Close()) }()
	known, err := admin.ListTopics()
	if err != nil {
		return fmt.Errorf("list the topics at %v: %w", servers.brokers, err)
	}
	for _, topic := range wiring.Topics {
		if is := known[topic.Name].NumPartitions; is != topic.Partitions {
			return usage(fmt.Errorf("--partitions %d: the topic %s is there already and has %d: give a new folder by --data or a new KAFKA_TOPIC_PREFIX, or --ephemeral", partitions, topic.Name, is))
		}
	}
	return nil
}

// registerSchemas registers the schemas of the stack's topics if its relays write Avro.
func (s *benchStack) registerSchemas(ctx context.Context) error {
	if s.options.environ["EVENT_FORMAT"] != "avro" {
		return nil
	}
	r, err := registry.Open(s.options.environ)
	if err != nil {
		return usage(fmt.Errorf("EVENT_FORMAT is avro: %w", err))
	}
	if _, err := r.Register(ctx); err != nil {
		return unreachable(err)
	}
	return nil
}

// launch starts the first harness, which makes the schemas and the topics, and then the others.
func (s *benchStack) launch(ctx context.Context, members int, out streams) error {
	for n := range members {
		o := s.options
		if n > 0 {
			o.data = filepath.Join(o.data, fmt.Sprintf("member-%d", n+1)) // one harness at a time has a folder
		}
		m, err := launchMember(o, out)
		if err != nil {
			return err
		}
		s.members = append(s.members, m)
		if n > 0 {
			continue
		}
		if err := m.await(ctx); err != nil {
			return err
		}
	}
	for _, m := range s.members { // the first again: each one that joins makes the others join anew
		if err := m.await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// apis and processes tell where the harnesses are.
func (s *benchStack) apis() (apis []string) {
	for _, m := range s.members {
		apis = append(apis, "http://"+m.options.addr)
	}
	return apis
}

func (s *benchStack) processes() (all []bench.Process) {
	for _, m := range s.members {
		all = append(all, m.run.processes()...)
	}
	return all
}

func (s *benchStack) logs() (all []string) {
	for _, m := range s.members {
		all = append(all, m.log())
		for name := range m.run.Functions {
			all = append(all, logOfFunction(logsOfFunctions(m.options.data), name))
		}
	}
	return all
}

// end stops the harnesses, all at the same time, and removes what was temporary.
func (s *benchStack) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	errs := make([]error, len(s.members))
	var ending sync.WaitGroup
	for i, m := range s.members {
		ending.Go(func() { errs[i] = m.end(ctx) })
	}
	ending.Wait()
	return errors.Join(errors.Join(errs...), s.remove(ctx))
}

// remove deletes the temporary data: the folder, and the schemas, topics and groups on servers of the environment.
func (s *benchStack) remove(ctx context.Context) error {
	if !s.temporary {
		return nil
	}
	errs := []error{os.RemoveAll(s.options.data)}
	if namesDatabase(s.options.environ) {
		errs = append(errs, s.dropSchemas(ctx))
	}
	if s.options.environ["EVENT_FORMAT"] == "avro" {
		r, err := registry.Open(s.options.environ)
		if err == nil {
			err = r.Unregister(ctx)
		}
		errs = append(errs, err)
	}
	if brokers := s.options.environ["KAFKA_BROKERS"]; brokers != "" {
		addresses, err := kafka.ParseBrokers(brokers)
		if err == nil {
			err = s.deleteTopics(addresses)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (s *benchStack) dropSchemas(ctx context.Context) error {
	server, _, err := base.Server(s.options.environ)
	if err != nil {
		return err
	}
	parts, err := server.Parts()
	if err != nil {
		return err
	}
	errs := make([]error, len(parts))
	for i, part := range parts {
		errs[i] = dropSchemasOf(ctx, part)
	}
	return errors.Join(errs...)
}

func dropSchemasOf(ctx context.Context, part schema.Part) error {
	db, err := part.Open("", 1)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // nothing is lost
	var errs []error
	for _, name := range part.Schemas {
		if _, err := db.ExecContext(ctx, "DROP DATABASE IF EXISTS `"+part.Prefix+name+"`"); err != nil {
			errs = append(errs, fmt.Errorf("drop the schema %s: %w", part.Prefix+name, err))
		}
	}
	return errors.Join(errs...)
}

func benchAdmin(brokers []string) (sarama.ClusterAdmin, error) {
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	kafka.Apply(config)
	admin, err := sarama.NewClusterAdmin(brokers, config)
	if err != nil {
		return nil, fmt.Errorf("connect to Kafka at %v: %w", brokers, err)
	}
	return admin, nil
}

func (s *benchStack) deleteTopics(brokers []string) error {
	wiring, err := knative.Configured(s.options.environ)
	if err != nil {
		return err
	}
	admin, err := benchAdmin(brokers)
	if err != nil {
		return err
	}
	errs := []error{}
	for _, source := range wiring.Sources {
		if err := admin.DeleteConsumerGroup(source.Group); err != nil && !errors.Is(err, sarama.ErrGroupIDNotFound) {
			errs = append(errs, fmt.Errorf("delete the group %s: %w", source.Group, err))
		}
	}
	for _, topic := range wiring.Topics {
		if err := admin.DeleteTopic(topic.Name); err != nil && !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			errs = append(errs, fmt.Errorf("delete the topic %s: %w", topic.Name, err))
		}
	}
	users, err := kafka.Users(s.options.environ)
	if err == nil && users != nil {
		err = kafka.Retire(brokers, kafka.Principals(wiring, s.options.environ["KAFKA_TOPIC_PREFIX"]), users)
	}
	return errors.Join(append(errs, err, admin.Close())...)
}
