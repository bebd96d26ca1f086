package dberror

import (
	"errors"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// readOnly lists the errors of a server that takes no writes, such as a primary that has become a replica. MySQL and MariaDB
// use the same numbers. Another server may have taken over the address, so the connection must be dropped.
var readOnly = map[uint16]bool{
	1036: true, // the table is read-only, by innodb_read_only or innodb_force_recovery
	1047: true, // a node of a Galera cluster that is not ready; MySQL's meaning, an unknown command, does not occur
	1290: true, // read_only, super_read_only
	1792: true, // transaction_read_only
	1836: true, // innodb_read_only
	1874: true, // the same
	3032: true, // offline_mode
}

// full lists the errors of a server without room, on its disk or in memory. Errors with other numbers can mean it, too; they
// contain the text of the operating system.
var full = map[uint16]bool{
	20:   true, // the disk, while it wrote one of its own files
	1021: true, // the disk
	1037: true, // memory
	1041: true, // memory
	1114: true, // the table cannot grow
	1135: true, // memory for a thread
	1206: true, // the buffer pool
	1637: true, // the undo logs
	3675: true, // the disk, when a table is created
}

// IsReadOnly returns whether the server takes no writes.
func IsReadOnly(err error) bool { return readOnly[number(err)] }

// IsFull returns whether the server has no room for a statement. Immediate retries do not help; the statement succeeds once
// there is room, so the error does not concern the value.
func IsFull(err error) bool {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && (full[e.Number] || strings.Contains(e.Message, "No space left on device") || strings.Contains(e.Message, "Disk quota exceeded"))
}
