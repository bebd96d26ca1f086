package main

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/knative"
)

// checkOverlay compares the wiring with the topics on the brokers. Topics of another overlay hold events that this wiring
// leaves unread, such as payments that orders wait for: that is refused, unless flag or variable name the overlay, and then
// logged.
func checkOverlay(s *servers, wiring *knative.Wiring, o options, log *slog.Logger) error {
	for _, name := range knative.Routings() {
		if name == wiring.Overlay {
			continue
		}
		left, err := leftUnread(s, wiring, name)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			continue
		}
		if !o.overlayNamed {
			return usage(fmt.Errorf("the overlay %[1]s has run on this data, and without it nothing reads the topics %[2]s: "+
				"start with --overlay %[1]s (or HARNESS_OVERLAY=%[1]s), or with --overlay %[3]s to leave their events unread", name, strings.Join(left, ", "), knative.BaseName))
		}
		log.Warn("topics of another overlay are left unread, and orders that wait for their events expire", "overlay", name, "topics", left, "read_with", "--overlay "+name)
	}
	return nil
}

// leftUnread lists the topics of an overlay on the brokers that the wiring does not have, without those of dead letters.
func leftUnread(s *servers, wiring *knative.Wiring, overlay string) ([]string, error) {
	other, err := knative.Configured(map[string]string{knative.OverlayVariable: overlay, "KAFKA_TOPIC_PREFIX": s.config["KAFKA_TOPIC_PREFIX"]})
	if err != nil {
		return nil, err
	}
	foreign := slices.DeleteFunc(other.Topics, func(t knative.Topic) bool {
		return strings.HasSuffix(t.Name, knative.DeadLetterSuffix) || slices.ContainsFunc(wiring.Topics, func(own knative.Topic) bool { return own.Name == t.Name })
	})
	if len(foreign) == 0 {
		return nil, nil
	}
	return kafka.Existing(s.brokers, foreign)
}
