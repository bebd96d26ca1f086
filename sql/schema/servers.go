package schema

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// Variable names the environment variable with the DSN of all schemas that have no server of their own.
const Variable = "MYSQL_DSN"

// VariableOf returns the name of the environment variable with the DSN of one schema.
func VariableOf(name string) string { return Variable + "_" + strings.ToUpper(name) }

// Variables lists the environment variables with DSNs: that for all schemas, then one for each schema.
func Variables() []string {
	all := []string{Variable}
	for _, name := range All {
		all = append(all, VariableOf(name))
	}
	return all
}

// Own is the server of one schema.
type Own struct {
	// DSN and Renew are as in Server.
	DSN   string
	Renew func() (string, error)
}

// Of returns the server of one schema, which has no Own any more; an empty name stands for the server of the other schemas.
func (s Server) Of(name string) (Server, error) {
	if own, ok := s.Own[name]; ok {
		s.DSN, s.Renew, s.variable = own.DSN, own.Renew, VariableOf(name)
	} else if s.DSN == "" {
		if name == "" {
			return s, fmt.Errorf("%s is not set, and names the server of the schemas without one of their own: give it as user:password@tcp(host:3306)/", Variable)
		}
		return s, fmt.Errorf("the schema %s has no server: set %s, or %s for all schemas without one of their own, "+
			"as user:password@tcp(host:3306)/, or name a file with that in %s_FILE", name, VariableOf(name), Variable, VariableOf(name))
	}
	s.Own = nil
	return s, nil
}

// Part is a server with the schemas that it has.
type Part struct {
	Server

	Schemas []string
}

// Parts returns the servers of some schemas, or of all if none is given, in the order of the first schema of each. Schemas
// with the same DSN share a server, whichever variable names it.
func (s Server) Parts(some ...string) ([]Part, error) {
	if len(some) == 0 {
		some = All
	}
	var parts []Part
	for _, name := range some {
		one, err := s.Of(name)
		if err != nil {
			return nil, err
		}
		at := slices.IndexFunc(parts, func(p Part) bool { return p.DSN == one.DSN })
		if at < 0 {
			at, parts = len(parts), append(parts, Part{Server: one})
		}
		parts[at].Schemas = append(parts[at].Schemas, name)
	}
	return parts, nil
}

// Address returns what a server listens on, without the login: two DSNs may lead to one server as different users.
func (s Server) Address() (string, error) {
	c, err := s.parse(s.DSN)
	if err != nil {
		return "", err
	}
	return c.Net + "(" + c.Addr + ")", nil
}

// From returns the variable that the DSN is from.
func (s Server) From() string {
	if s.variable == "" {
		return Variable
	}
	return s.variable
}

// parse reads a DSN. The driver's error may contain a part of the password, for example of a DSN without an @.
func (s Server) parse(dsn string) (*mysql.Config, error) {
	c, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("%s (like user:password@tcp(127.0.0.1:3306)/) is not understood: "+
			"give user, password and address in this form, behind the slash nothing or parameters like ?tls=true", s.From())
	}
	return c, nil
}
