package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/IBM/sarama"
	"github.com/google/uuid"

	"example.com/orders/functions/internal/instance"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

// benchStack is a harness that bench has started, as a process of its own so that the CPU of both can be told apart.
// Unlike an ephemeral one it keeps every commit.
type benchStack struct {
	run     runFile
	options options // by which other commands reach it

	cmd       *exec.Cmd
	ended     chan struct{}
	err       error // once ended is closed
	temporary bool  // the data, on real servers too, is removed at the end
}

// Ports among which bench looks for a free one: below the range from which outgoing connections take theirs.
const firstBenchPort, benchPorts = 18080, 1000

const (
	benchStartWithin = 2 * time.Minute
	benchLog         = "harness.log"
)

// startStack starts a harness and waits until it is ready. Unless the user has named a data folder, or prefixes for
// servers of the environment, all of that is new, and removed at the end.
func startStack(ctx context.Context, o options, keep bool, out streams) (s *benchStack, err error) {
	s = &benchStack{options: o, ended: make(chan struct{}), temporary: !keep}
	s.options.ephemeral, s.options.environ = false, maps.Clone(o.environ)
	if s.temporary {
		if s.options.data, err = os.MkdirTemp("", "orders-bench-"); err != nil {
			return nil, fmt.Errorf("make a temporary data folder: %w", err)
		}
		name := "bench" + strings.ReplaceAll(uuid.NewString(), "-", "")[:8]
		s.options.environ["MYSQL_SCHEMA_PREFIX"] = name + "_"
		s.options.environ["KAFKA_TOPIC_PREFIX"] = name + "."
	} else if err := os.MkdirAll(o.data, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	if err := s.launch(out); err != nil {
		return nil, errors.Join(err, s.remove(ctx))
	}
	if err := s.await(ctx); err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

func (s *benchStack) launch(out streams) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	path := filepath.Join(s.options.data, benchLog)
	log, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("make the log of the harness: %w", err)
	}
	defer func() { _ = log.Close() }() // the child has its own
	fmt.Fprintf(out.stderr, "starting a harness, its log is %s\n", path)
	s.options.addr = address
	s.cmd = exec.CommandContext(context.Background(), program, "up", "--addr", address, "--data", s.options.data, "--ephemeral=false", "--log", s.options.logFormat, fmt.Sprintf("--pprof=%t", s.options.pprof))
	for name, value := range s.options.environ {
		s.cmd.Env = append(s.cmd.Env, name+"="+value)
	}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return fmt.Errorf("start a harness: %w", err)
	}
	if s.options.pprof {
		fmt.Fprintf(out.stderr, "profile the load by go tool pprof http://%s/debug/pprof/profile?seconds=10\n", address)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.ended)
	}()
	return nil
}

func freeAddress() (string, error) {
	for range benchPorts {
		// Anywhere in the range: of two that start at once both would find the first port free.
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstBenchPort+rand.N(benchPorts)))
		listener, err := net.Listen("tcp", address)
		if err == nil {
			return address, listener.Close()
		}
	}
	return "", fmt.Errorf("no port was found from %d to %d", firstBenchPort, firstBenchPort+benchPorts-1)
}

// await returns when the harness is ready.
func (s *benchStack) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, benchStartWithin)
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-s.ended:
			return fmt.Errorf("the harness has ended: %w\n%s", s.err, s.logged())
		case <-ctx.Done():
			return fmt.Errorf("wait for the harness to be ready: %w\n%s", ctx.Err(), s.logged())
		case <-look.C:
		}
		if answers(ctx, s.options.addr) {
			run, err := readRun(s.options.data)
			if err == nil {
				s.run = run
				return nil
			}
		}
	}
}

// logged is the end of the harness's log.
func (s *benchStack) logged() string {
	text, err := os.ReadFile(filepath.Join(s.options.data, benchLog))
	if err != nil {
		return ""
	}
	const most = 2000
	return string(text[max(0, len(text)-most):])
}

// end stops the harness and removes what was temporary.
func (s *benchStack) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs []error
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		errs = append(errs, fmt.Errorf("stop the harness: %w", err))
	}
	select {
	case <-s.ended:
	case <-ctx.Done():
		errs = append(errs, errors.New("the harness did not stop within a minute and was killed"), s.cmd.Process.Kill())
		<-s.ended
	}
	if s.err != nil {
		errs = append(errs, fmt.Errorf("the harness has ended badly: %w\n%s", s.err, s.logged()))
	}
	return errors.Join(append(errs, s.remove(ctx))...)
}

// remove deletes the temporary data: the folder, and the schemas, topics and groups on servers of the environment.
func (s *benchStack) remove(ctx context.Context) error {
	if !s.temporary {
		return nil
	}
	errs := []error{os.RemoveAll(s.options.data)}
	if s.options.environ["MYSQL_DSN"] != "" {
		errs = append(errs, s.dropSchemas(ctx))
	}
	if brokers := s.options.environ["KAFKA_BROKERS"]; brokers != "" {
		errs = append(errs, s.deleteTopics(strings.Split(brokers, ",")))
	}
	return errors.Join(errs...)
}

func (s *benchStack) dropSchemas(ctx context.Context) error {
	server, _, err := instance.Server(s.options.environ)
	if err != nil {
		return err
	}
	db, err := server.Open("", 1)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // nothing is lost
	var errs []error
	for _, name := range schema.All {
		if _, err := db.ExecContext(ctx, "DROP DATABASE IF EXISTS `"+server.Prefix+name+"`"); err != nil {
			errs = append(errs, fmt.Errorf("drop the schema %s: %w", server.Prefix+name, err))
		}
	}
	return errors.Join(errs...)
}

func (s *benchStack) deleteTopics(brokers []string) error {
	wiring, err := knative.Load(knative.Base())
	if err != nil {
		return err
	}
	if wiring, err = wiring.WithTopicPrefix(s.options.environ["KAFKA_TOPIC_PREFIX"]); err != nil {
		return err
	}
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	admin, err := sarama.NewClusterAdmin(brokers, config)
	if err != nil {
		return fmt.Errorf("connect to Kafka at %v: %w", brokers, err)
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
	return errors.Join(append(errs, admin.Close())...)
}
