package base

import (
	"errors"
	"fmt"
	"strconv"

	"example.com/orders/functions/internal/web/certificate"
	"example.com/orders/functions/internal/web/secret"
	"example.com/orders/sql/schema"
)

// Server reads the server from MYSQL_DSN or the file of MYSQL_DSN_FILE, from MYSQL_SCHEMA_PREFIX, from MYSQL_TLS_CA_FILE,
// MYSQL_TLS_CERT_FILE and MYSQL_TLS_KEY_FILE (see certificate.NewClient), and from MYSQL_ALLOW_PLAINTEXT; and from
// MYSQL_MAX_CONNS the maximum number of connections per schema. New connections take files that have been replaced.
func Server(config map[string]string) (server schema.Server, maxOpen int, err error) {
	read := func() (string, error) { return secret.Read(config, "MYSQL_DSN") }
	server.Prefix = config["MYSQL_SCHEMA_PREFIX"]
	if server.DSN, err = read(); err != nil {
		return server, 0, err
	}
	if server.DSN == "" {
		return server, 0, errors.New("MYSQL_DSN is not set: give the server as user:password@tcp(host:3306)/, or a file with that as MYSQL_DSN_FILE")
	}
	if config["MYSQL_DSN"+secret.FileSuffix] != "" {
		server.Renew = read
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
