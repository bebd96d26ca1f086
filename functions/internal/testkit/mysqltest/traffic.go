package mysqltest

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/schema"
)

// Traffic counts what a program sends to a server through pools that it opens itself.
type Traffic struct {
	Connections atomic.Int64
	Statements  atomic.Int64
}

// Counted returns s with connections that count. Schemas with a server of their own keep it, uncounted.
func Counted(t testing.TB, s schema.Server) (schema.Server, *Traffic) {
	t.Helper()
	c, err := mysql.ParseDSN(s.DSN)
	require.NoError(t, err)
	traffic, network := &Traffic{}, c.Net
	c.Net = "counted-" + uuid.NewString()
	mysql.RegisterDialContext(c.Net, func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		traffic.Connections.Add(1)
		return countedConn{conn, traffic}, nil
	})
	t.Cleanup(func() { mysql.DeregisterDialContext(c.Net) })
	s.DSN, s.AllowPlaintext = c.FormatDSN(), true
	return s, traffic
}

type countedConn struct {
	net.Conn
	traffic *Traffic
}

// Write counts the commands with a statement: the driver writes each packet at once, and numbers those of a command from 0.
func (c countedConn) Write(packet []byte) (int, error) {
	const number, command, query = 3, 4, 3
	if len(packet) > command && packet[number] == 0 && packet[command] == query {
		c.traffic.Statements.Add(1)
	}
	return c.Conn.Write(packet)
}
