package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// ParseBrokers reads KAFKA_BROKERS: one or more host:port, separated by commas.
func ParseBrokers(text string) ([]string, error) {
	var brokers []string
	for _, entry := range strings.Split(text, ",") {
		entry = strings.TrimSpace(entry)
		if reason := misspelt(entry); reason != "" {
			return nil, fmt.Errorf("KAFKA_BROKERS is %q, and %q %s: give host:port, several separated by commas", text, entry, reason)
		}
		brokers = append(brokers, entry)
	}
	return brokers, nil
}

// misspelt returns what is wrong with the address of a broker, or an empty text.
func misspelt(address string) string {
	if listener, _, ok := strings.Cut(address, "://"); ok {
		return fmt.Sprintf("has a listener name, which belongs into the broker's own settings: leave out %s://", listener)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "is not an address"
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "has no port from 1 to 65535"
	}
	if host == "" || strings.ContainsAny(host, " \t\r\n/@") {
		return "has no host"
	}
	return ""
}

// reachWithin bounds the check of one address.
const reachWithin = 2 * time.Second

// Diagnose returns why the brokers are unusable: an address of KAFKA_BROKERS, or one that a broker advertises, that cannot
// be resolved or reached from here. Clients get the advertised addresses from the first broker that answers, and from then
// on use no others. It takes some seconds at most, and returns nil if it finds no problem.
func Diagnose(ctx context.Context, brokers []string) error {
	answers := make([]error, len(brokers))
	advertised := make([][]string, len(brokers))
	var asking sync.WaitGroup
	for i, address := range brokers {
		asking.Go(func() {
			if answers[i] = touch(ctx, address); answers[i] != nil {
				answers[i] = fmt.Errorf("KAFKA_BROKERS names %s, %w", address, answers[i])
				return
			}
			if advertised[i], answers[i] = ask(address); answers[i] != nil {
				answers[i] = fmt.Errorf("%s does not answer like a broker, check the port, KAFKA_TLS and KAFKA_SASL_MECHANISM: %w", address, answers[i])
			}
		})
	}
	asking.Wait()
	first := slices.Index(answers, nil)
	if first < 0 {
		return errors.Join(answers...)
	}
	problems := make([]error, len(advertised[first]))
	for i, address := range advertised[first] {
		asking.Go(func() {
			if err := touch(ctx, address); err != nil {
				problems[i] = fmt.Errorf("the broker at %s advertises %s, %w: set its advertised.listeners to addresses that its clients can reach", brokers[first], address, err)
			}
		})
	}
	asking.Wait()
	return errors.Join(problems...)
}

// touch checks whether an address can be reached.
func touch(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err == nil {
		return conn.Close()
	}
	if resolving, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Errorf("which this machine cannot resolve (%s)", resolving.Err)
	}
	return fmt.Errorf("which this machine cannot reach (%w)", err)
}

// ask returns the addresses that a broker advertises for its cluster.
func ask(address string) (advertised []string, err error) {
	c := config("orders-diagnosis")
	c.Net.DialTimeout, c.Net.ReadTimeout, c.Net.WriteTimeout = reachWithin, reachWithin, reachWithin
	broker := sarama.NewBroker(address)
	if err := broker.Open(c); err != nil {
		return nil, err
	}
	defer func() { _ = broker.Close() }() // it may not have opened
	answer, err := broker.GetMetadata(sarama.NewMetadataRequest(c.Version, []string{}))
	if err != nil {
		return nil, err
	}
	for _, b := range answer.Brokers {
		advertised = append(advertised, b.Addr())
	}
	return advertised, nil
}

// diagnoseEvery is the interval between two diagnoses of the brokers.
const diagnoseEvery = 2 * time.Second

// LogDiagnosis logs why the brokers are unusable, each reason once, until ctx ends. Run it while waiting for the brokers.
func LogDiagnosis(ctx context.Context, brokers []string, log *slog.Logger) {
	logged := ""
	for {
		timer := time.NewTimer(diagnoseEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if err := Diagnose(ctx, brokers); err != nil && err.Error() != logged && ctx.Err() == nil {
			logged = err.Error()
			log.Warn("cannot reach Kafka, retrying", "reason", err)
		}
	}
}
