package base

import (
	"errors"
	"fmt"
	"strconv"

	"example.com/orders/functions/internal/web/certificate"
	"example.com/orders/functions/internal/web/secret"
	"example.com/orders/sql/schema"
)

// Server reads the servers from MYSQL_DSN, and from MYSQL_DSN_ORDERS and so on for the schemas with one of their own, each of
// which may be in a file that the variable with _FILE names; from MYSQL_SCHEMA_PREFIX, from MYSQL_TLS_CA_FILE,
// MYSQL_TLS_CERT_FILE and MYSQL_TLS_KEY_FILE (see certificate.NewClient), and from MYSQL_ALLOW_PLAINTEXT; and from
// MYSQL_MAX_CONNS the maximum number of connections per schema. New connections take files that have been replaced. A schema
// that no variable gives a server fails when it is opened.
func Server(config map[string]string) (server schema.Server, maxOpen int, err error) {
	server.Prefix = config["MYSQL_SCHEMA_PREFIX"]
	if server.DSN, server.Renew, err = readDSN(config, schema.Variable); err != nil {
		return server, 0, err
	}
	for _, name := range schema.All {
		var own schema.Own
		if own.DSN, own.Renew, err = readDSN(config, schema.VariableOf(name)); err != nil {
			return server, 0, err
		}
		if own.DSN != "" {
			if server.Own == nil {
				server.Own = map[string]schema.Own{}
			}
			server.Own[name] = own
		}
	}
	if server.DSN == "" && len(server.Own) == 0 {
		return server, 0, errors.New("MYSQL_DSN is not set: give the server as user:password@tcp(host:3306)/, or a file with that as MYSQL_DSN_FILE; " +
			"a schema with a server of its own has it in a variable like MYSQL_DSN_ORDERS")
	}
	files, err := certificate.NewClient(config, "MYSQL_TLS")
	if err != nil {
		return server, 0, err
	}
	if files.Given() {
		server.TLS = files.Config
	}
	if text := config["MYSQL_ALLOW_PLAINTEXT"]; text != "" {
		if server.AllowPlaintext, err = strconv.ParseBool(text); err != nil {
			return server, 0, fmt.Errorf("MYSQL_ALLOW_PLAINTEXT is %q: give true or false", text)
		}
	}
	maxOpen = 8
	if text := config["MYSQL_MAX_CONNS"]; text != "" {
		if maxOpen, err = strconv.Atoi(text); err != nil || maxOpen < 1 || maxOpen > 1000 {
			return server, 0, fmt.Errorf("MYSQL_MAX_CONNS is %q: give a number from 1 to 1000", text)
		}
	}
	return server, maxOpen, nil
}

// readDSN reads a DSN, and returns what reads it again if it is in a file.
func readDSN(config map[string]string, variable string) (dsn string, renew func() (string, error), err error) {
	read := func() (string, error) { return secret.Read(config, variable) }
	if config[variable+secret.FileSuffix] != "" {
		renew = read
	}
	dsn, err = read()
	return dsn, renew, err
}
