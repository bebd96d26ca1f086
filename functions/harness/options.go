package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"example.com/orders/functions/internal/observe/tracing"
	"example.com/orders/knative"
)

// options has the values of flags and environment.
type options struct {
	addr      string
	addrNamed bool // by flag or variable
	addrFlag  bool // by flag
	opsAddr   string
	// certFile and keyFile have the certificate by which the harness serves HTTPS; empty for HTTP.
	certFile, keyFile string
	data              string
	dataNamed         bool   // by flag or variable
	name              string // given to a command that takes a name, or the id of an order
	overlay           string // the overlay of knative/ whose wiring counts
	// overlayNamed is whether flag or variable name the overlay, if only as the base.
	overlayNamed bool
	ephemeral    bool // no persistent folder, whatever data says
	logFormat    string

	// For the command up.
	stock         bool
	hosts         hosts
	drain         time.Duration
	chaos         chaos
	auditInterval time.Duration // zero means no audits
	pprof         bool          // serve Go's profiles
	deployed      bool          // each function runs in its own process
	kafkaPassword bool          // the in-process Kafka requires a password
	trustNetwork  bool          // everybody who reaches the address may do everything
	connections   int           // of clients at a time

	environ map[string]string
}

func newOptions() options {
	o := options{environ: map[string]string{}}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		o.environ[name] = value
	}
	return o
}

// flags adds the flags of all commands.
func (o *options) flags(flags *pflag.FlagSet) {
	flags.StringVar(&o.addr, "addr", or(o.environ["HARNESS_ADDR"], "127.0.0.1:8080"), "`address` to serve HTTP on [HARNESS_ADDR]")
	flags.StringVar(&o.opsAddr, "ops-addr", o.environ["HARNESS_OPS_ADDR"], "`address` of a port for those who run it, with /metrics, /info, the reasons of /health, and Go's profiles; without it they are served on --addr if that is a loopback address, else nowhere [HARNESS_OPS_ADDR]")
	flags.StringVar(&o.certFile, "tls-cert", o.environ[certVariable], "`file` with the certificate, in PEM, to serve HTTPS by; a replaced file counts without a restart [HARNESS_TLS_CERT_FILE]")
	flags.StringVar(&o.keyFile, "tls-key", o.environ[keyVariable], "`file` with the key of that certificate [HARNESS_TLS_KEY_FILE]")
	flags.StringVar(&o.data, "data", or(o.environ["HARNESS_DATA"], defaultData()), "`folder` of the persistent data [HARNESS_DATA]")
	flags.BoolVar(&o.ephemeral, "ephemeral", false, "keep the data in a temporary folder that is removed at the end; a command uses only the environment, and no harness [HARNESS_EPHEMERAL=true]")
	flags.StringVar(&o.overlay, "overlay", o.environ[knative.OverlayVariable], "`name` of the overlay of knative/ whose wiring is acted out: "+strings.Join(append([]string{knative.BaseName}, knative.Overlays()...), " or ")+"; a command takes that of the harness on its data folder [HARNESS_OVERLAY]")
	flags.StringVar(&o.logFormat, "log", or(o.environ["HARNESS_LOG"], "text"), "`format` of the log on standard error, text or json [HARNESS_LOG]")
}

// check completes the options once the flags are parsed, and refuses what is not understood.
func (o *options) check(flags *pflag.FlagSet) error {
	o.addrFlag = flags.Changed("addr")
	o.addrNamed = o.addrFlag || o.environ["HARNESS_ADDR"] != ""
	o.dataNamed = flags.Changed("data") || o.environ["HARNESS_DATA"] != ""
	if !flags.Changed("ephemeral") {
		ephemeral, err := readBool(o.environ, "HARNESS_EPHEMERAL", false)
		if err != nil {
			return err
		}
		o.ephemeral = ephemeral && !flags.Changed("data") // the variable applies only without a named folder
	}
	o.overlayNamed = o.overlay != ""
	if names := knative.Overlays(); o.overlayNamed && o.overlay != knative.BaseName && !slices.Contains(names, o.overlay) {
		return fmt.Errorf("--overlay %q: give %s", o.overlay, strings.Join(append([]string{knative.BaseName}, names...), " or "))
	}
	o.environ = maps.Clone(o.environ)
	o.environ[knative.OverlayVariable] = o.overlay // functions and commands take it from their configuration
	if _, _, err := net.SplitHostPort(o.addr); err != nil {
		return fmt.Errorf("--addr %q: give host:port: %w", o.addr, err)
	}
	if _, _, err := net.SplitHostPort(o.opsAddr); o.opsAddr != "" && err != nil {
		return fmt.Errorf("--ops-addr %q: give host:port: %w", o.opsAddr, err)
	}
	if (o.certFile == "") != (o.keyFile == "") {
		return errors.New("only one of --tls-cert and --tls-key is given: give both to serve HTTPS, or none")
	}
	if o.logFormat != "text" && o.logFormat != "json" {
		return fmt.Errorf("--log %q: give text or json", o.logFormat)
	}
	return nil
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
