package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"example.com/orders/functions/internal/observe/tracing"
)

// options has the values of flags and environment.
type options struct {
	addr      string
	addrNamed bool // by flag or variable
	data      string
	dataNamed bool   // by flag or variable
	name      string // given to a command that takes a name
	ephemeral bool   // no persistent folder, whatever data says
	logFormat string
	stock     bool
	hosts     hosts
	drain     time.Duration

	chaos         chaos         // for the command up
	auditInterval time.Duration // for the command up; zero means no audits
	pprof         bool          // serve Go's profiles
	deployed      bool          // for the command up; each function runs in its own process
	kafkaPassword bool          // for the command up; the in-process Kafka requires a password

	environ map[string]string
}

func parseOptions(flags *flag.FlagSet, c command, args []string, stderr io.Writer) (options, error) {
	o := options{environ: map[string]string{}}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		o.environ[name] = value
	}
	flags.SetOutput(stderr)
	flags.Usage = func() { help(stderr, flags, c) }
	flags.StringVar(&o.addr, "addr", or(o.environ["HARNESS_ADDR"], "127.0.0.1:8080"), "`address` to serve HTTP on [HARNESS_ADDR]")
	flags.StringVar(&o.data, "data", or(o.environ["HARNESS_DATA"], defaultData()), "`folder` of the persistent data [HARNESS_DATA]")
	ephemeral, ephemeralErr := readBool(o.environ, "HARNESS_EPHEMERAL", false)
	flags.BoolVar(&o.ephemeral, "ephemeral", ephemeral, "keep the data in a temporary folder that is removed at the end; a command uses only the environment, and no harness [HARNESS_EPHEMERAL=true]")
	flags.StringVar(&o.logFormat, "log", or(o.environ["HARNESS_LOG"], "text"), "`format` of the log on standard error, text or json [HARNESS_LOG]")
	stock, stockErr := readBool(o.environ, "HARNESS_SAMPLE_STOCK", true)
	flags.BoolVar(&o.stock, "sample-stock", stock, "put a few SKUs on stock at the first start [HARNESS_SAMPLE_STOCK=false]")
	names := flags.String("hosts", o.environ["HARNESS_HOSTS"], "`names` and addresses that it answers to besides localhost and 127.0.0.1, separated by commas [HARNESS_HOSTS]")
	flags.DurationVar(&o.drain, "drain", 10*time.Second, "how long events in flight may take to finish at shutdown")
	if c.takesName() && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		args = append(args[1:len(args):len(args)], args[0]) // the flags come first for the parser
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	rest := flags.Args()
	if c.takesName() && len(rest) > 0 {
		o.name, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 {
		return o, fmt.Errorf("%q is not understood: see harness --help", rest[0])
	}
	if err := errors.Join(ephemeralErr, stockErr); err != nil {
		return o, err
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	o.addrNamed = given["addr"] || o.environ["HARNESS_ADDR"] != ""
	o.dataNamed = given["data"] || o.environ["HARNESS_DATA"] != ""
	if given["data"] && !given["ephemeral"] {
		o.ephemeral = false // the variable applies only without a named folder
	}
	if _, _, err := net.SplitHostPort(o.addr); err != nil {
		return o, fmt.Errorf("--addr %q: give host:port: %w", o.addr, err)
	}
	var err error
	if o.hosts, err = readHosts(*names); err != nil {
		return o, fmt.Errorf("--hosts: %w", err)
	}
	if o.logFormat != "text" && o.logFormat != "json" {
		return o, fmt.Errorf("--log %q: give text or json", o.logFormat)
	}
	return o, nil
}

// readBool parses a variable that is true or false.
func readBool(environ map[string]string, name string, fallback bool) (bool, error) {
	text := environ[name]
	if text == "" {
		return fallback, nil
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		return fallback, fmt.Errorf("%s is %q: give true or false", name, text)
	}
	return value, nil
}

func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

// defaultData returns a folder in the user's cache, or a user's own folder in the shared temporary folder.
func defaultData() string {
	base, err := os.UserCacheDir()
	if err != nil {
		return filepath.Join(os.TempDir(), fmt.Sprintf("orders-harness-%d", os.Getuid()))
	}
	return filepath.Join(base, "orders", "harness")
}

func (o options) logger(stderr io.Writer) *slog.Logger {
	if o.logFormat == "json" {
		return slog.New(tracing.Log(newLogLimiter(slog.NewJSONHandler(stderr, nil))))
	}
	return slog.New(tracing.Log(newLogLimiter(slog.NewTextHandler(stderr, nil))))
}
