package main

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/operate/bench"
	"example.com/orders/functions/internal/testkit/kafkatest"
)

// guardedStack is a stack on a Kafka that lets in only who logs in, and allows others than its administrator only what they
// have been given: that of KAFKA_GUARDED_BROKERS, else one in this process.
func guardedStack(t *testing.T) stack {
	t.Helper()
	c := kafkatest.ForProcesses(t)
	if c.Password == "" {
		c = kafkatest.Guarded(t)
	}
	s := withoutKafka(t)
	s.environ = append(s.environ, c.Environ()...)
	return s
}

// as returns a client of Kafka that logs in as a principal.
func (s stack) as(t *testing.T, principal string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	login := kafka.UsersSecret(s.variable(kafka.UsersVariable)).Login(s.topicPrefix() + principal)
	if principal == "admin" {
		login = &kafka.Login{User: "admin", Password: s.variable("KAFKA_SASL_PASSWORD")}
	}
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(s.variable("KAFKA_BROKERS")), kgo.RetryTimeout(10*time.Second), kgo.DisableIdempotentWrite(),
		kgo.SASL(scram.Auth{User: login.User, Pass: login.Password}.AsSha512Mechanism()))...)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

// read returns the error of reading a topic, nil once there is a record.
func read(t *testing.T, client *kgo.Client) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		fetched := client.PollFetches(ctx)
		if fetched.NumRecords() > 0 {
			return nil
		}
		for _, failed := range fetched.Errors() {
			return failed.Err
		}
	}
}

func TestOrdersFlowWithAPrincipalForEachRelayAndSource(t *testing.T) {
	t.Parallel()
	s := guardedStack(t)
	p := s.up(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	prefix := s.topicPrefix()

	o := p.place(t, "SKU-123", 2)
	p.awaitStatus(t, o.OrderID, "CONFIRMED")
	p.awaitLog(t, "Email to a…e@example.com: your order "+o.OrderID+" is CONFIRMED")
	poison := &kgo.Record{Topic: prefix + "order.created", Key: []byte("poison"), Value: []byte("no event")}
	require.NoError(t, s.as(t, "admin").ProduceSync(ctx, poison).FirstErr())
	require.NoError(t, read(t, s.as(t, kafka.Operator, kgo.ConsumeTopics(prefix+"order.created.dlq"))), "the dead letter")
	p.audit(t)

	for who, topic := range map[string]string{
		"publish-outbox-inventory": "order.created", "reserve-stock.order.created": "order.created", "notify.order.confirmed": "order.confirmed",
		kafka.DeadLetters: "order.created", kafka.Operator: "order.created", "sink.order.created.dlq": "order.created",
	} {
		err := s.as(t, who).ProduceSync(ctx, &kgo.Record{Topic: prefix + topic, Value: []byte("forged")}).FirstErr()
		assert.ErrorIs(t, err, kerr.TopicAuthorizationFailed, "%s writes %s", who, topic)
	}
	for who, topic := range map[string]string{
		"publish-outbox-orders": "order.created", "reserve-stock.order.created": "order.confirmed", kafka.DeadLetters: "order.created.dlq",
	} {
		err := read(t, s.as(t, who, kgo.ConsumeTopics(prefix+topic)))
		assert.ErrorIs(t, err, kerr.TopicAuthorizationFailed, "%s reads %s", who, topic)
	}
	err := read(t, s.as(t, "reserve-stock.order.created", kgo.ConsumerGroup(prefix+"another"), kgo.ConsumeTopics(prefix+"order.created")))
	assert.ErrorIs(t, err, kerr.GroupAuthorizationFailed, "a source joins the group of another")
	assert.Error(t, s.as(t, "nobody").Ping(ctx), "it has a password and no user")
	p.stop(t)
}

func TestBenchWorksWithAPrincipalForEachRelayAndSourceAndRemovesThem(t *testing.T) {
	t.Parallel()
	s := guardedStack(t)
	// bench gives the stack prefixes.
	environ := slices.Concat(s.environ, []string{"KAFKA_TOPIC_PREFIX=", "MYSQL_SCHEMA_PREFIX=", "MYSQL_USERS_SECRET=", "TMPDIR=" + t.TempDir()})
	var r bench.Report
	b := runBench(t, environ, &r, "--orders", "30")
	assert.Equal(t, []int{30, 30, 0, 0}, []int{r.Accepted, r.Confirmed, r.Failed, r.Lost})
	var drained bench.Backlog
	runBench(t, environ, &drained, "--backlog", "300")
	assert.Equal(t, 300, drained.Rows)

	admin, err := sarama.NewClusterAdmin([]string{s.variable("KAFKA_BROKERS")}, kafkatest.Cluster{Password: s.variable("KAFKA_SASL_PASSWORD")}.Config())
	require.NoError(t, err)
	defer func() { assert.NoError(t, admin.Close()) }()
	rules, err := admin.ListAcls(sarama.AclFilter{
		ResourceType: sarama.AclResourceAny, ResourcePatternTypeFilter: sarama.AclPatternAny, Operation: sarama.AclOperationAny, PermissionType: sarama.AclPermissionAny,
	})
	require.NoError(t, err)
	prefix := regexp.MustCompile(`the topics (bench\w+\.)\*`).FindStringSubmatch(b.log.String())
	require.NotEmpty(t, prefix)
	for _, rule := range rules {
		assert.NotContains(t, rule.ResourceName, prefix[1])
	}
}

// withdraw takes all rules from a principal.
func (s stack) withdraw(t *testing.T, principal string) {
	t.Helper()
	admin, err := sarama.NewClusterAdmin([]string{s.variable("KAFKA_BROKERS")}, kafkatest.Cluster{Password: s.variable("KAFKA_SASL_PASSWORD")}.Config())
	require.NoError(t, err)
	defer func() { assert.NoError(t, admin.Close()) }()
	who := "User:" + s.topicPrefix() + principal
	_, err = admin.DeleteACL(sarama.AclFilter{
		Principal: &who, ResourceType: sarama.AclResourceAny, ResourcePatternTypeFilter: sarama.AclPatternAny,
		Operation: sarama.AclOperationAny, PermissionType: sarama.AclPermissionAny,
	}, false)
	require.NoError(t, err)
}

func TestARelayWithoutItsRulesKeepsItsEvents(t *testing.T) {
	t.Parallel()
	s := guardedStack(t)
	p := s.up(t)
	s.withdraw(t, "publish-outbox-orders")

	o := p.place(t, "SKU-123", 1)
	p.awaitLog(t, "The client is not authorized to")
	assert.Equal(t, "PENDING", p.order(t, o.OrderID).Status)
	s.operate(t, "", "principals --apply")

	p.awaitStatus(t, o.OrderID, "CONFIRMED")
	p.audit(t)
}

// Neither commands nor the console and the gauges of a harness use the administrator's login, which makes the principals.
func TestToolsOfOperatorsLogInAsTheOperator(t *testing.T) {
	t.Parallel()
	s := guardedStack(t)
	p := s.up(t)
	operator := kafka.UsersSecret(s.variable(kafka.UsersVariable)).Login(s.topicPrefix() + kafka.Operator)
	for who, more := range map[string][]string{
		"with the secret":       {"KAFKA_SASL_PASSWORD=not-that-of-admin"},
		"with its own password": {"KAFKA_SASL_USER=" + operator.User, "KAFKA_SASL_PASSWORD=" + operator.Password, kafka.UsersVariable + "="},
	} {
		tools := stack{data: s.data, environ: slices.Concat(s.environ, more)}
		assert.Empty(t, tools.letters(t), who)
		tools.operate(t, "", "audit", "--grace", "0s")
		tools.operate(t, "", "forget", "--email", "nobody@example.com", "--dry-run")
	}
	gauges := []string{`orders_watch_up{source="consumers"}`, `orders_watch_up{source="dead letters"}`}
	for _, gauge := range gauges {
		p.awaitMetric(t, gauge+" 1")
	}

	s.withdraw(t, kafka.Operator)

	for _, gauge := range gauges {
		p.awaitMetric(t, gauge+" 0")
	}
}

func TestPrincipalsAreWrittenForStrimzi(t *testing.T) {
	users := func(args ...string) string {
		var stdout bytes.Buffer
		require.NoError(t, run(t.Context(), append([]string{"principals", "--strimzi"}, args...), streams{&stdout, &bytes.Buffer{}}))
		return stdout.String()
	}
	const relay, sink = "\n  name: publish-outbox-orders\n", "\n  name: sink.order.created\n"

	plain, sinks, captured := users(), users("--kafka-sinks"), users("--overlay", "cdc")

	assert.Contains(t, plain, relay)
	assert.NotContains(t, plain, sink)
	assert.Contains(t, sinks, sink)
	assert.NotContains(t, sinks, relay)
	assert.Contains(t, captured, "\n  name: connect\n")
	assert.Contains(t, captured, relay, "it reads what the connector has published")
	for _, text := range []string{plain, sinks, captured} {
		assert.Contains(t, text, "kind: KafkaUser\nmetadata:\n  labels:\n    strimzi.io/cluster: orders\n  name: reserve-stock.order.created\n")
	}
	err := run(t.Context(), []string{"principals", "--kafka-sinks", "--overlay", "cdc"}, streams{&bytes.Buffer{}, &bytes.Buffer{}})
	assert.ErrorContains(t, err, "Kafka Connect publishes")
}
