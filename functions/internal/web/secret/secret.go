// Package secret reads passwords and tokens. Each is a variable NAME, or a file that NAME_FILE names, as Docker and Kubernetes
// mount them: a file appears in no list of processes, and can be replaced without a restart.
package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"
)

// Variables lists the names of all secrets.
var Variables = []string{
	"MYSQL_DSN",
	"MYSQL_DSN_ORDERS", // of one schema, as the next ones
	"MYSQL_DSN_INVENTORY",
	"MYSQL_DSN_PAYMENTS",
	"MYSQL_DSN_NOTIFICATIONS",
	"MYSQL_DSN_OPERATIONS",
	"MYSQL_USERS_SECRET", // the passwords of the database users come of it
	"CDC_MYSQL_PASSWORD", // of the connectors of change data capture, for "harness cdc prepare"
	"KAFKA_SASL_PASSWORD",
	"KAFKA_USERS_SECRET", // those of the principals of Kafka
	"SCHEMA_REGISTRY_PASSWORD",
	"SMTP_PASSWORD",
	"PAYMENT_GATEWAY_TOKEN",
	"BANK_TOKEN",
	"OIDC_CLIENT_SECRET", // of the console at the identity provider
	"HARNESS_TOKEN",      // of a command, for the harness that it calls
	"SINK_TOKEN",         // between functions, where a cluster issues none
	"OUTBOX_POKE_TOKEN",  // of a function, for the relay that it wakes
	"KAFKA_SINK_TOKEN",   // of a relay, for KafkaSinks; in a file only
	"FUNCTIONS_TOKEN",    // of a replay, for the functions that it calls
}

// FileSuffix makes the name of the variable that names a secret's file.
const FileSuffix = "_FILE"

// maxSize bounds a file, in bytes: a certificate chain as a token is a few thousand.
const maxSize = 64 << 10

// Read returns a secret, "" if neither NAME nor NAME_FILE is set. Line breaks at the end of a file do not count. Both set,
// and a file that is empty, too large or not text, are errors, which never contain the secret. Each call reads the file
// anew.
func Read(config map[string]string, name string) (string, error) {
	value, path := config[name], config[name+FileSuffix]
	switch {
	case path == "":
		return value, nil
	case value != "":
		return "", fmt.Errorf("%s and %s are both set: give one of them", name, name+FileSuffix)
	}
	text, err := readFile(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name+FileSuffix, err)
	}
	return text, nil
}

func readFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	text = bytes.TrimRight(text, "\r\n")
	switch {
	case err != nil:
		return "", err
	case len(text) == 0:
		return "", fmt.Errorf("%s is empty: write the secret into it", path)
	case len(text) > maxSize:
		return "", fmt.Errorf("%s has more than %d bytes: it is no secret", path, maxSize)
	case !utf8.Valid(text) || bytes.ContainsAny(text, "\x00\r\n"):
		return "", errors.New(path + " has more than one line, or is not text: write nothing but the secret into it")
	}
	return string(text), nil
}

// Given returns whether a secret is set, by either variable.
func Given(config map[string]string, name string) bool {
	return config[name] != "" || config[name+FileSuffix] != ""
}
