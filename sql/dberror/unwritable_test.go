package dberror_test

import (
	"errors"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"

	"example.com/orders/sql/dberror"
)

func TestFullIsWhatRoomWouldChange(t *testing.T) {
	for name, c := range map[string]struct {
		number  uint16
		message string
		want    bool
	}{
		"table":             {1114, "The table 'outbox' is full", true},
		"disk":              {1021, "Disk full (/tmp/x); waiting for someone to free some space... (errno: 28)", true},
		"memory":            {1041, "Out of memory", true},
		"needed memory":     {1037, "Out of memory; restart server and try again (needed 2 bytes)", true},
		"new table":         {3675, "Create table/tablespace 'x' failed, as disk is full", true},
		"engine, MySQL":     {1030, "Got error 28 - 'No space left on device' from storage engine", true},
		"engine, MariaDB":   {1030, `Got error 28 "No space left on device" from storage engine InnoDB`, true},
		"file":              {3, "Error writing file '/tmp/MLx' (OS errno 28 - No space left on device)", true},
		"commit":            {1180, `Got error 28 - 'No space left on device' during COMMIT`, true},
		"quota":             {1026, "Error writing file 'x' (errno: 122 \"Disk quota exceeded\")", true},
		"engine, otherwise": {1030, "Got error 168 from storage engine", false},
		"read-only":         {1290, "The MySQL server is running with the --read-only option", false},
		"data too long":     {1406, "Data too long for column 'sku'", false},
	} {
		err := error(&mysql.MySQLError{Number: c.number, Message: c.message})
		assert.Equal(t, c.want, dberror.IsFull(err), name)
		assert.Equal(t, c.want, dberror.IsFull(errors.Join(errors.New("store"), err)), name)
	}
	assert.False(t, dberror.IsFull(nil))
	assert.False(t, dberror.IsFull(errors.New("The table 'outbox' is full")), "not the server's word")
}
