package dberror

import (
	"errors"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// readOnly lists the errors of a server that takes no writes, as a primary that has become a replica: MySQL and MariaDB
// have the same numbers. Another server may answer under the same address, so the connection is of no more use.
var readOnly = map[uint16]bool{
	1036: true, // the table is read-only, by innodb_read_only or innodb_force_recovery
	1047: true, // a node of a Galera cluster that is not ready; nobody sends it an unknown command, which is MySQL's meaning
	1290: true, // read_only, super_read_only
	1792: true, // transaction_read_only
	1836: true, // innodb_read_only
	1874: true, // the same
	3032: true, // offline_mode
}

// full lists the errors of a server that lacks room, on its disk or in memory. Errors of other numbers can mean it too, and
// have the text of the operating system then.
var full = map[uint16]bool{
	20:   true, // the disk, while it wrote a file of its own
	1021: true, // the disk
	1037: true, // memory
	1041: true, // memory
	1114: true, // the table cannot grow
	1135: true, // memory for a thread
	1206: true, // the buffer pool
	1637: true, // the undo logs
	3675: true, // the disk, when a table is created
}

// IsReadOnly tells whether the server takes no writes.
func IsReadOnly(err error) bool { return readOnly[number(err)] }

// IsFull tells whether the server has no room for a statement, which succeeds once somebody makes room: it says nothing
// about what was to be written. No number of tries in a row changes it.
func IsFull(err error) bool {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && (full[e.Number] || strings.Contains(e.Message, "No space left on device") || strings.Contains(e.Message, "Disk quota exceeded"))
}
