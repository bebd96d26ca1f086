package scaffold

import (
	"strings"
	"time"

	"example.com/orders/knative"
)

// names are what the templates fill in.
type names struct {
	Reaction
	Folder string
}

// Title is the name as a part of a Go identifier: AwardPoints.
func (n names) Title() string { return title(n.Name, "-") }

// OnGo is the Go type of what it reacts to: OrderConfirmed.
func (n names) OnGo() string { return title(n.On, ".") }

// EmitsGo is the Go type of what it emits: PointsAwarded.
func (n names) EmitsGo() string { return title(n.Emits, ".") }

// Method is the name of the method that reacts: confirmed.
func (n names) Method() string { return factOf(n.On) }

// SchemaGo is the constant of its schema: schema.Orders.
func (n names) SchemaGo() string { return "schema." + title(n.Schema, "_") }

// Manifests is the folder of its manifest: knative/base.
func (n names) Manifests() string {
	if n.Overlay == "" {
		return "knative/base"
	}
	return "knative/components/" + n.Overlay
}

// Created is the time at which it was written, as func has it.
func (n names) Created() string { return n.Now.UTC().Format(time.RFC3339) }

// Family is the family of what it emits: points.
func (n names) Family() string { return familyOf(n.Emits) }

// Source is the constant of the source of what it emits: PointsSource.
func (n names) Source() string { return title(n.Family(), ".") + "Source" }

// Subject is the subject of the tokens of its KafkaSource.
func (n names) Subject() string { return knative.Subject("orders", "KafkaSource", n.Name+"."+n.On) }

func familyOf(eventType string) string {
	family, _, _ := strings.Cut(eventType, ".")
	return family
}

func factOf(eventType string) string {
	_, fact, _ := strings.Cut(eventType, ".")
	return fact
}

// title joins the words of a text, each with a capital.
func title(text, separator string) string {
	var joined strings.Builder
	for word := range strings.SplitSeq(text, separator) {
		if word != "" {
			joined.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return joined.String()
}
