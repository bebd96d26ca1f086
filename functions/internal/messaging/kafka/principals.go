package kafka

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/IBM/sarama"

	"example.com/orders/events"
	"example.com/orders/knative"
)

// Principals without a function, a source or a sink of their own.
const (
	// DeadLetters writes the dead letters of a harness; on Knative the KafkaSinks do.
	DeadLetters = "dead-letters"
	// Operator reads all topics and the state of all groups, for the audit, the console and the commands of operators.
	Operator = "operator"
)

// Principal is who connects to Kafka, with all that it may do there.
type Principal struct {
	// Name is that of a relay, a KafkaSource, or a KafkaSink after "sink.", or knative.ConnectPrincipal, or one of the names above,
	// after the topic prefix.
	Name  string
	Rules []Rule
}

// Rule allows operations on one topic or group.
type Rule struct {
	Resource   sarama.AclResourceType
	Name       string
	Operations []sarama.AclOperation
}

// String is the rule for people, as in "topic order.created: Write".
func (r Rule) String() string {
	operations := make([]string, len(r.Operations))
	for n := range r.Operations {
		operations[n] = r.Operations[n].String()
	}
	return strings.ToLower(r.Resource.String()) + " " + r.Name + ": " + strings.Join(operations, ", ")
}

// rule allows operations; Kafka adds Describe to Read and Write.
func rule(resource sarama.AclResourceType, name string, operations ...sarama.AclOperation) Rule {
	return Rule{resource, name, operations}
}

// Principals lists who connects to Kafka in a wiring, whose names have the prefix: a relay writes the topics of its schema's
// events, a source reads its topic as a member of its group, a sink writes its topic. A relay may write a topic of events
// that belong to no schema with a relay, since any function may emit them. A relay behind a connector also reads its topics,
// to see what the connector has published; one that publishes through KafkaSinks is no principal. Kafka Connect is one for all
// of its connectors.
func Principals(w *knative.Wiring, prefix string) (all []Principal) {
	outboxes := w.Outboxes()
	add := func(name string, rules ...Rule) { all = append(all, Principal{prefix + name, rules}) }
	for _, service := range w.Services {
		if !service.Relays() {
			continue
		}
		schema := service.Outbox()
		var rules []Rule
		operations := []sarama.AclOperation{sarama.AclOperationWrite}
		if service.Env[knative.PublisherVariable] == knative.CDCPublisher {
			operations = []sarama.AclOperation{sarama.AclOperationRead, sarama.AclOperationWrite}
		}
		for _, t := range w.Topics {
			source := emitter(t, prefix)
			if source == schema || source != "" && !slices.Contains(outboxes, source) {
				rules = append(rules, rule(sarama.AclResourceTopic, t.Name, operations...))
			}
		}
		add(service.Name, rules...)
	}
	var letters, everything []Rule
	for _, s := range w.Sources {
		add(s.Name, rule(sarama.AclResourceTopic, s.Topic, sarama.AclOperationRead), rule(sarama.AclResourceGroup, s.Group, sarama.AclOperationRead))
		if written := rule(sarama.AclResourceTopic, s.Delivery.DeadLetter, sarama.AclOperationWrite); !slices.ContainsFunc(letters, func(r Rule) bool { return r.Name == written.Name }) {
			letters = append(letters, written)
		}
		everything = append(everything, rule(sarama.AclResourceGroup, s.Group, sarama.AclOperationDescribe))
	}
	for _, s := range w.Sinks {
		add(s.Principal(), rule(sarama.AclResourceTopic, s.Topic, sarama.AclOperationWrite))
	}
	for _, t := range w.Topics {
		everything = append(everything, rule(sarama.AclResourceTopic, t.Name, sarama.AclOperationRead, sarama.AclOperationDescribeConfigs))
	}
	if w.Captures() {
		add(knative.ConnectPrincipal, connectRules(w, prefix)...)
	}
	add(DeadLetters, letters...)
	add(Operator, everything...)
	for _, p := range all {
		slices.SortFunc(p.Rules, func(a, b Rule) int {
			return cmp.Or(cmp.Compare(b.Resource, a.Resource)*-1, strings.Compare(a.Name, b.Name))
		})
	}
	slices.SortFunc(all, func(a, b Principal) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// emitter returns the schema whose events a topic has, empty for dead letters.
func emitter(t knative.Topic, prefix string) string {
	return events.SchemaOf(strings.TrimPrefix(t.Name, prefix))
}

// connectRules are those of Kafka Connect: its workers keep their state in topics of their own; a connector writes the topics of
// events, and has topics for its schema history and its heartbeats. It makes its own topics if they are missing.
func connectRules(w *knative.Wiring, prefix string) (rules []Rule) {
	own := []sarama.AclOperation{sarama.AclOperationRead, sarama.AclOperationWrite, sarama.AclOperationCreate, sarama.AclOperationDescribeConfigs}
	for _, c := range w.Connects {
		rules = append(rules, rule(sarama.AclResourceGroup, c.Group, sarama.AclOperationRead))
		for _, topic := range c.Topics {
			rules = append(rules, rule(sarama.AclResourceTopic, topic, own...))
		}
	}
	for _, c := range w.Connectors {
		rules = append(rules, rule(sarama.AclResourceGroup, c.HistoryGroup(), sarama.AclOperationRead), rule(sarama.AclResourceTopic, c.HistoryTopic(), own...),
			rule(sarama.AclResourceTopic, c.HeartbeatTopic(), sarama.AclOperationWrite, sarama.AclOperationCreate))
	}
	for _, t := range w.Topics {
		if emitter(t, prefix) != "" {
			rules = append(rules, rule(sarama.AclResourceTopic, t.Name, sarama.AclOperationWrite))
		}
	}
	return rules
}

// acl is one entry of the broker's list.
type acl struct {
	resource  sarama.AclResourceType
	name      string
	operation sarama.AclOperation
}

func (a acl) String() string { return rule(a.resource, a.name, a.operation).String() }

// Authorize gives principals their rules, and takes what they have beyond them; it returns what it changed. With a secret it
// also makes their users, whose passwords count for new connections. The process's own login must be allowed to alter the
// cluster.
func Authorize(brokers []string, principals []Principal, secret UsersSecret) (changes []string, err error) {
	err = administer(brokers, func(_ sarama.Client, admin sarama.ClusterAdmin) error {
		if err := secret.make(admin, principals); err != nil {
			return err
		}
		for _, p := range principals {
			changed, err := authorize(admin, p)
			changes = append(changes, changed...)
			if err != nil {
				return fmt.Errorf("principal %s: %w", p.Name, err)
			}
		}
		return nil
	})
	if err != nil {
		return changes, fmt.Errorf("authorize the principals at %v: %w", brokers, err)
	}
	return changes, nil
}

// Retire takes all rules from principals and, with a secret, removes their users.
func Retire(brokers []string, principals []Principal, secret UsersSecret) error {
	err := administer(brokers, func(_ sarama.Client, admin sarama.ClusterAdmin) error {
		errs := []error{secret.remove(admin, principals)}
		for _, p := range principals {
			_, err := authorize(admin, Principal{Name: p.Name})
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("retire the principals at %v: %w", brokers, err)
	}
	return nil
}

func authorize(admin sarama.ClusterAdmin, p Principal) (changes []string, err error) {
	who, anyHost := "User:"+p.Name, "*"
	listed, err := admin.ListAcls(sarama.AclFilter{
		Principal: &who, ResourceType: sarama.AclResourceAny, ResourcePatternTypeFilter: sarama.AclPatternAny,
		Operation: sarama.AclOperationAny, PermissionType: sarama.AclPermissionAny,
	})
	if err != nil {
		return nil, fmt.Errorf("list its rules: %w", err)
	}
	wanted := map[acl]bool{}
	for _, r := range p.Rules {
		for _, operation := range r.Operations {
			wanted[acl{r.Resource, r.Name, operation}] = true
		}
	}
	has := map[acl]bool{}
	for _, on := range listed {
		for _, a := range on.Acls {
			one := acl{on.ResourceType, on.ResourceName, a.Operation}
			plain := on.ResourcePatternType == sarama.AclPatternLiteral && a.Host == anyHost && a.PermissionType == sarama.AclPermissionAllow
			if plain && wanted[one] {
				has[one] = true
				continue
			}
			matching, err := admin.DeleteACL(sarama.AclFilter{
				Principal: &who, Host: &a.Host, ResourceType: on.ResourceType, ResourceName: &on.ResourceName,
				ResourcePatternTypeFilter: on.ResourcePatternType, Operation: a.Operation, PermissionType: a.PermissionType,
			}, false)
			if err != nil {
				return changes, fmt.Errorf("remove %s: %w", one, err)
			}
			if len(matching) > 0 {
				changes = append(changes, p.Name+": removed "+one.String())
			}
		}
	}
	var missing []*sarama.ResourceAcls
	for _, r := range p.Rules {
		for _, operation := range r.Operations {
			if one := (acl{r.Resource, r.Name, operation}); !has[one] {
				missing = append(missing, &sarama.ResourceAcls{
					Resource: sarama.Resource{ResourceType: r.Resource, ResourceName: r.Name, ResourcePatternType: sarama.AclPatternLiteral},
					Acls:     []*sarama.Acl{{Principal: who, Host: anyHost, Operation: operation, PermissionType: sarama.AclPermissionAllow}},
				})
				changes = append(changes, p.Name+": added "+one.String())
			}
		}
	}
	if len(missing) == 0 {
		return changes, nil
	}
	return changes, admin.CreateACLs(missing)
}
