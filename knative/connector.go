package knative

import (
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// PublisherVariable names the variable of a Service that relays an outbox, and CDCPublisher is its value where a connector
// captures the outbox instead.
const (
	PublisherVariable = "OUTBOX_PUBLISHER"
	CDCPublisher      = "cdc"
)

// Connector captures one outbox: it reads the binary log of MySQL, and publishes the events of new rows.
type Connector struct {
	Name string
	// Schema is that of the outbox.
	Schema string
	// Config is the configuration as Kafka Connect takes it. Secrets are references to a config provider.
	Config map[string]string
}

// Connect is a cluster of Kafka Connect, which runs connectors.
type Connect struct {
	Name string
	// Group is that of its workers, and Topics are those in which they keep their state.
	Group  string
	Topics []string
}

const (
	outboxTable  = ".outbox"
	logicalName  = "topic.prefix"
	historyTopic = "schema.history.internal.kafka.topic"
	databases    = "database.include.list"
	tables       = "table.include.list"
	serverID     = "database.server.id"
	eventTopics  = "transforms.topic.replacement"
	secret       = "database.password"
)

// WithSchemaPrefix returns the connector of the outbox in the schema with prefix before its name. Such a connector has a
// server id of its own, as several tenants or tests share a server.
func (c Connector) WithSchemaPrefix(prefix string) Connector {
	if prefix == "" {
		return c
	}
	c.Config = maps.Clone(c.Config)
	c.Config[databases] = prefix + c.Schema
	c.Config[tables] = prefix + c.Schema + outboxTable
	h := fnv.New32a()
	_, _ = h.Write([]byte(prefix + c.Schema)) // a hash never fails
	c.Config[serverID] = strconv.Itoa(100_000 + int(h.Sum32()%1_000_000_000))
	return c
}

func (c Connector) withTopicPrefix(prefix string) Connector {
	if prefix == "" {
		return c
	}
	c.Config = maps.Clone(c.Config)
	c.Name = prefix + c.Name
	for _, name := range []string{logicalName, historyTopic, eventTopics} {
		c.Config[name] = prefix + c.Config[name]
	}
	return c
}

// WithHistoryClient returns the connector with settings for the clients by which it reads and writes its HistoryTopic.
func (c Connector) WithHistoryClient(settings map[string]string) Connector {
	config := maps.Clone(c.Config)
	if config == nil {
		config = map[string]string{}
	}
	for name, value := range settings {
		for _, client := range []string{"producer", "consumer"} {
			config["schema.history.internal."+client+"."+name] = value
		}
	}
	c.Config = config
	return c
}

// HistoryTopic returns the topic in which the connector keeps the structure of its table, for itself.
func (c Connector) HistoryTopic() string { return c.Config[historyTopic] }

// HistoryGroup returns the group in which the connector reads its HistoryTopic, as Debezium names it.
func (c Connector) HistoryGroup() string { return c.Config[logicalName] + "-schemahistory" }

// HeartbeatTopic returns the topic of the connector's heartbeats, as Debezium names it.
func (c Connector) HeartbeatTopic() string { return "__debezium-heartbeat." + c.Config[logicalName] }

// Captures returns whether connectors publish the events, and not relays.
func (w *Wiring) Captures() bool { return len(w.Connectors) > 0 }

func (c *checker) connect(m connectManifest) {
	spec, err := m.decoded()
	c.require(err == nil, m.header, "%v", err)
	topics := []string{spec.ConfigTopic, spec.OffsetTopic, spec.StatusTopic}
	c.require(spec.GroupID != "" && !slices.Contains(topics, ""), m.header,
		"groupId, configStorageTopic, offsetStorageTopic or statusStorageTopic is missing: its principal may use those alone")
	c.wiring.Connects = append(c.wiring.Connects, Connect{Name: m.Metadata.Name, Group: spec.GroupID, Topics: topics})
}

func (c *checker) connector(m connectorManifest, connects []connectManifest) {
	h, config := m.header, maps.Clone(m.Spec.Config)
	cluster := m.Metadata.Labels[clusterLabel]
	c.require(slices.ContainsFunc(connects, func(k connectManifest) bool { return k.Metadata.Name == cluster }), h, "label %s is %q: name a KafkaConnect, or nothing runs the connector", clusterLabel, cluster)
	c.require(m.Spec.Class != "", h, "class is missing: name that of the connector")
	c.require(m.Spec.TasksMax == 1, h, "tasksMax is %d: give 1, since one task reads a binary log", m.Spec.TasksMax)
	schema, ok := strings.CutSuffix(config[tables], outboxTable)
	c.require(ok && schema == config[databases], h, "%s is %q: give SCHEMA.outbox, and the SCHEMA as %s: it must read no other table", tables, config[tables], databases)
	c.require(strings.HasPrefix(config[secret], "${"), h, "%s holds a password: refer to a config provider, such as ${env:CDC_MYSQL_PASSWORD}", secret)
	c.require(slices.ContainsFunc(c.wiring.Services, func(s Service) bool {
		return s.Outbox() == schema && s.Env[PublisherVariable] == CDCPublisher
	}), h, "the relay of %s also publishes: give its Service %s=%s", schema, PublisherVariable, CDCPublisher)
	for _, other := range c.wiring.Connectors {
		for _, own := range []string{serverID, logicalName, historyTopic, tables} {
			c.require(other.Config[own] != config[own], h, "%s is %q, as in %s: give each connector its own", own, config[own], other.Name)
		}
	}
	if config == nil {
		config = map[string]string{}
	}
	config["connector.class"], config["tasks.max"] = m.Spec.Class, "1"
	c.wiring.Connectors = append(c.wiring.Connectors, Connector{Name: m.Metadata.Name, Schema: schema, Config: config})
}

// captured checks that no outbox is left without anyone who publishes its events.
func (c *checker) captured(b *base) {
	for _, m := range b.services {
		for _, s := range c.wiring.Services {
			if s.Name != m.Metadata.Name || s.Env[PublisherVariable] != CDCPublisher {
				continue
			}
			c.require(slices.ContainsFunc(c.wiring.Connectors, func(one Connector) bool { return one.Schema == s.Outbox() }),
				m.header, "%s is %s, and no KafkaConnector captures the outbox of %s: add one", PublisherVariable, CDCPublisher, s.Outbox())
		}
	}
}
