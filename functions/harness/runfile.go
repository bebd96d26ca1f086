package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

	"example.com/orders/functions/internal/operate/bench"
	"example.com/orders/functions/internal/operate/connect"
	"example.com/orders/functions/internal/web/secret"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

// runFile describes for other commands the deployment of the harness on a data folder, and its address while it runs. It
// holds no secrets, and stays when the harness has ended.
type runFile struct {
	PID  int    `json:"pid"` // 0 before the harness is ready and after its end; a killed harness leaves its pid
	Addr string `json:"addr"`
	// Ops is the address of the port for those who run the harness; empty if that is Addr, or none.
	Ops string `json:"ops,omitempty"`
	// Certificate is the file with the certificate of both, empty without HTTPS.
	Certificate string `json:"certificate,omitempty"`
	Brokers     string `json:"brokers"`
	DSN         string `json:"dsn"` // without the password
	// Password is whether the DSN has one.
	Password bool `json:"password,omitempty"`
	// Passwords lists the variables with the DSN of one schema that have one.
	Passwords []string `json:"passwords,omitempty"`
	// Token is whether the payment gateway is asked with one.
	Token bool `json:"token,omitempty"`
	// Functions are the processes of functions, by deployed name, where each function has its own.
	Functions map[string]int `json:"functions,omitempty"`
	// Own lists the variables of the harness's own servers, whose addresses are valid while it runs.
	Own []string `json:"own,omitempty"`
	// Variables has the deploymentVariables, trustVariables and adoptedVariables that are set, without the DSN and the brokers, and
	// the DSNs of single schemas without their passwords.
	Variables map[string]string `json:"variables,omitempty"`
}

const runName = "harness.json"

// deploymentVariables determine the deployment of a process, and the limits by which its operators measure it.
var deploymentVariables = append(schema.Variables(),
	"MYSQL_SCHEMA_PREFIX",
	"KAFKA_BROKERS", "KAFKA_TOPIC_PREFIX", "KAFKA_TLS", "KAFKA_SASL_MECHANISM",
	"SCHEMA_REGISTRY_URL", "SCHEMA_REGISTRY_USER",
	"SAGA_TIMEOUT", "OUTBOX_RETENTION", knative.OverlayVariable, gatewayVariable, gatewayURL, connect.URLVariable,
)

// trustVariables determine the certificates that a process trusts, for crypto/x509.
var trustVariables = []string{"SSL_CERT_FILE", "SSL_CERT_DIR"}

// adoptedVariables say how the servers are reached, and as whom. A command takes each over that it does not have itself. Where a secret comes
// from a file, the file is known, and the secret is not.
var adoptedVariables = append(dsnFiles(),
	"MYSQL_TLS_CA_FILE", "MYSQL_TLS_CERT_FILE", "MYSQL_TLS_KEY_FILE", "MYSQL_ALLOW_PLAINTEXT",
	"KAFKA_TLS_CA_FILE", "KAFKA_TLS_CERT_FILE", "KAFKA_TLS_KEY_FILE", "KAFKA_SASL_USER", "KAFKA_SASL_PASSWORD_FILE",
	"SCHEMA_REGISTRY_PASSWORD_FILE", "PAYMENT_GATEWAY_TOKEN_FILE", caVariable,
)

// dsnFiles lists the variables that name the files with DSNs.
func dsnFiles() []string {
	all := schema.Variables()
	for i := range all {
		all[i] += secret.FileSuffix
	}
	return all
}

// describe returns the run file of a harness with these servers.
func (s *servers) describe(addr string) (run runFile, err error) {
	run = runFile{PID: os.Getpid(), Addr: addr, Ops: s.ops, Brokers: s.config["KAFKA_BROKERS"], Variables: map[string]string{}}
	if s.certFile != "" {
		if run.Certificate, err = filepath.Abs(s.certFile); err != nil {
			return run, fmt.Errorf("--tls-cert: %w", err)
		}
	}
	dsn, err := secret.Read(s.config, "MYSQL_DSN")
	if err != nil {
		return run, err
	}
	if run.DSN, run.Password, err = withoutPassword("MYSQL_DSN", dsn); err != nil {
		return run, err
	}
	if s.mysql != nil {
		run.Own = append(run.Own, "MYSQL_DSN")
	}
	if s.kfake != nil {
		run.Own = append(run.Own, "KAFKA_BROKERS")
	}
	if s.bank != nil {
		run.Own = append(run.Own, gatewayURL)
	}
	run.Token = s.config[gatewayVariable] == httpGateway && secret.Given(s.config, gatewayToken)
	for _, name := range slices.Concat(deploymentVariables, trustVariables, adoptedVariables) {
		if name == "MYSQL_DSN" || name == "KAFKA_BROKERS" {
			continue
		}
		value := s.config[name]
		if slices.Contains(schema.Variables(), name) {
			if value, err = secret.Read(s.config, name); err != nil {
				return run, err
			}
			if _, had, _ := withoutPassword(name, value); had { // canonical reports an error
				run.Passwords = append(run.Passwords, name)
			}
		}
		if value, err = canonical(name, value); err != nil {
			return run, err
		}
		if value != "" {
			run.Variables[name] = value
		}
	}
	return run, nil
}

// canonical returns the form in which a variable's value is compared and stored.
func canonical(name, value string) (string, error) {
	if slices.Contains(schema.Variables(), name) {
		dsn, _, err := withoutPassword(name, value)
		return dsn, err
	}
	switch name {
	case gatewayVariable:
		if value == simulatedGateway {
			return "", nil // the same as unset
		}
	case knative.OverlayVariable:
		return or(value, knative.BaseName), nil
	case "KAFKA_TLS":
		on, err := readBool(map[string]string{name: value}, name, false)
		if err != nil || !on {
			return "", err // false means the same as unset
		}
		return "true", nil
	}
	var paths []string
	switch {
	case name == "SSL_CERT_DIR":
		paths = filepath.SplitList(value)
	case value != "" && strings.HasSuffix(name, secret.FileSuffix):
		paths = []string{value}
	default:
		return value, nil
	}
	for i, path := range paths { // commands may run in another folder
		absolute, err := filepath.Abs(path)
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		paths[i] = absolute
	}
	return strings.Join(paths, string(filepath.ListSeparator)), nil
}

// withoutPassword removes the password from the DSN of a variable, and returns whether there was one.
func withoutPassword(name, dsn string) (rest string, had bool, err error) {
	if dsn == "" {
		return "", false, nil
	}
	c, err := mysql.ParseDSN(dsn)
	if err != nil {
		return "", false, fmt.Errorf("%s is not of the form user:password@tcp(host:3306)/", name) // err may contain a part of the password
	}
	had, c.Passwd = c.Passwd != "", ""
	return c.FormatDSN(), had, nil
}

// variables returns all variables of the deployment. Those of servers that ended with their harness are not set.
func (r runFile) variables(running bool) map[string]string {
	all := map[string]string{}
	maps.Copy(all, r.Variables)
	for name, address := range map[string]string{"MYSQL_DSN": r.DSN, "KAFKA_BROKERS": r.Brokers} {
		all[name] = address
	}
	for _, name := range r.Own {
		if !running {
			delete(all, name)
		}
	}
	return all
}

// processes are those of the harness, its own first.
func (r runFile) processes() []bench.Process {
	all := []bench.Process{{PID: r.PID}}
	for _, name := range slices.Sorted(maps.Keys(r.Functions)) {
		all = append(all, bench.Process{Function: name, PID: r.Functions[name]})
	}
	return all
}

// readRun reads the run file of a folder.
func readRun(path string) (run runFile, err error) {
	text, err := os.ReadFile(filepath.Join(path, runName))
	if err != nil {
		return run, err
	}
	return run, json.Unmarshal(text, &run)
}

// writeRun atomically replaces the run file of a folder that this process has locked: a command may be reading it.
func writeRun(path string, run runFile) error {
	text, err := json.Marshal(run)
	if err != nil {
		return err
	}
	fresh := filepath.Join(path, runName+".new")
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, filepath.Join(path, runName))
}

// announce writes the run file of a harness with these servers.
func (d *dataFolder) announce(s *servers, addr string, functions map[string]int) error {
	run, err := s.describe(addr)
	if err == nil {
		run.Functions = functions
		err = writeRun(d.path, run)
	}
	if err != nil {
		return fmt.Errorf("write the run file of this harness: %w", err)
	}
	return nil
}

// forget removes the address of the last harness from the run file: its ports may belong to another program by now.
func forget(path string) error {
	run, err := readRun(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		run.PID, run.Addr, run.Ops, run.Functions = 0, "", "", nil
		err = writeRun(path, run)
	} else {
		err = os.Remove(filepath.Join(path, runName)) // it cannot be read
	}
	if err != nil {
		return fmt.Errorf("clear the run file of the last harness: %w", err)
	}
	return nil
}

// owner describes the harness that has a folder, as far as known.
func owner(path string) string {
	if run, err := readRun(path); err == nil && run.PID != 0 {
		return fmt.Sprintf("another harness (pid %d on %s)", run.PID, run.Addr)
	}
	return "another harness that is starting, or by a command"
}

// findRunning returns the harness that is running on a data folder, nil if there is none.
func findRunning(path string) (*runFile, error) {
	free, err := isFree(path)
	if err != nil || free {
		return nil, err
	}
	run, err := readRun(path)
	if err == nil && run.PID == 0 {
		err = errors.New("another command may be at work there")
	}
	if err != nil {
		return nil, fmt.Errorf("the harness on %s has not started yet: try again when it is ready (%w)", path, err)
	}
	return &run, nil
}
