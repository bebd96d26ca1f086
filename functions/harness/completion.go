package main

import (
	"slices"

	"github.com/spf13/cobra"

	"example.com/orders/functions/internal/function/gateway"
	"example.com/orders/functions/internal/operate/backlog"
	"example.com/orders/functions/internal/operate/deadletter"
	"example.com/orders/functions/internal/operate/settle"
	"example.com/orders/knative"
)

// complete lets shells complete the values of flags, of all commands below c.
func (p *program) complete(c *cobra.Command) {
	choices := map[string]func(*knative.Wiring) []string{
		"overlay":  func(*knative.Wiring) []string { return append([]string{knative.BaseName}, knative.Overlays()...) },
		"log":      func(*knative.Wiring) []string { return []string{"text", "json"} },
		"schema":   (*knative.Wiring).Outboxes,
		"consumer": consumerNames, "chaos-function": consumerNames,
		"topic": consumedTopics, "on": consumedTopics,
		"state": func(*knative.Wiring) []string { return names(deadletter.States) },
	}
	if c.Parent() != nil && c.Parent().Name() == "outbox" {
		choices["state"] = func(*knative.Wiring) []string { return names(backlog.States) }
	}
	if c.Parent() != nil && c.Parent().Name() == "payments" {
		choices["state"] = func(*knative.Wiring) []string { return names(settle.States) }
		choices["as"] = func(*knative.Wiring) []string {
			return []string{string(gateway.Authorized), string(gateway.Declined), string(gateway.Refunded), string(gateway.Nothing)}
		}
	}
	for name, values := range choices {
		if c.LocalFlags().Lookup(name) == nil {
			continue
		}
		if err := c.RegisterFlagCompletionFunc(name, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			wiring, err := knative.LoadOverlay(knative.Manifests(), p.overlay())
			if err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			return values(wiring), cobra.ShellCompDirectiveNoFileComp
		}); err != nil {
			panic(err) // the flag is there
		}
	}
	if c.PersistentFlags().Lookup("data") != nil {
		if err := c.MarkPersistentFlagDirname("data"); err != nil {
			panic(err) // the flag is there
		}
	}
	for _, below := range c.Commands() {
		p.complete(below)
	}
}

// overlay returns the overlay of the deployment that the command line acts on, as far as it is known.
func (p *program) overlay() string {
	o := p.options
	if err := o.check(p.root.PersistentFlags()); err != nil {
		return ""
	}
	d, err := locate(o, needsDatabase|needsKafka)
	if d == nil || err != nil {
		return o.overlay
	}
	return d.config[knative.OverlayVariable]
}

// consumerNames and consumedTopics name the functions that take events, and the topics that they take them from.
func consumerNames(w *knative.Wiring) []string {
	return distinct(w, func(s knative.KafkaSource) string { return s.Sink })
}

func consumedTopics(w *knative.Wiring) []string {
	return distinct(w, func(s knative.KafkaSource) string { return s.Topic })
}

func distinct(w *knative.Wiring, of func(knative.KafkaSource) string) (all []string) {
	for _, source := range w.Sources {
		all = append(all, of(source))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// names lists states, and the word for all of them.
func names[T ~string](states []T) []string {
	all := make([]string, len(states), len(states)+1)
	for i, state := range states {
		all[i] = string(state)
	}
	return append(all, "all")
}
