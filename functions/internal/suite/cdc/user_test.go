package cdc

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/sql/cdc"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
)

// What the server has granted is what the connectors need, and no more: the log, which no right of MySQL narrows, and each outbox.
func TestTheUserOfTheConnectorsHasTheseRightsOnly(t *testing.T) {
	s := start(t, "cdc-payment")
	db := s.pool(schema.Orders)
	const user = "cdc_rights"
	servertest.Exec(t, db, "DROP USER IF EXISTS "+user)
	t.Cleanup(func() {
		_, err := db.Exec("DROP USER " + user)
		assert.NoError(t, err)
	})

	require.NoError(t, cdc.Grant(t.Context(), db, s.server, user, "change-data", schema.WithOutbox))

	want := []string{"GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `" + user + "`@`%`"}
	for _, name := range schema.WithOutbox {
		want = append(want, fmt.Sprintf("GRANT SELECT ON `%s%s`.`outbox` TO `%s`@`%%`", s.server.Prefix, name, user))
	}
	assert.ElementsMatch(t, want, mysqltest.Rows(t, db, "SHOW GRANTS FOR "+user))
}
