package dberror

import (
	"errors"
	"regexp"
	"slices"

	"github.com/go-sql-driver/mysql"
)

// badValues has the errors by which a server refuses a value although their SQLSTATE is not of class 22, data exception, on
// MySQL, MariaDB or both.
var badValues = []uint16{
	1048,                                     // NULL in a NOT NULL column
	1153,                                     // a packet larger than max_allowed_packet
	1265,                                     // not a member of an ENUM
	1267, 1270, 1271, 1300, 1366, 1977, 3854, // text that is not in the column's character set
	1411, 1525, // not a time
	4036, 4037, 4038, 4039, 4040, 4041, // not JSON, on MariaDB
}

// Arithmetic errors of class 22. The result depends on what is stored as well as on the value, so a retry may succeed.
const (
	divisionByZero   = 1365
	timeOverflow     = 1441
	resultOutOfRange = 1690
)

// A CHECK was violated.
const (
	checkViolatedMySQL   = 3819
	checkViolatedMariaDB = 4025
)

// checksOfValues are the CHECKs that concern only the stored value. Those of the stock levels are not among them: a level
// depends on what is stored, so the same event may pass after a restock.
var checksOfValues = []string{"orders_total_amount", "order_items_unit_price", "order_items_quantity", "payments_amount", "prices_unit_price"}

var checkName = regexp.MustCompile("^(?:Check constraint '|CONSTRAINT `)([^'`]*)['`]")

// IsBadValue returns whether the server refused a value for what it is: too long, out of range, not in the column's
// character set, not a time, not JSON. A retry would fail again.
func IsBadValue(err error) bool {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	if !ok {
		return errors.Is(err, mysql.ErrPktTooLarge)
	}
	switch e.Number {
	case checkViolatedMySQL, checkViolatedMariaDB:
		name := checkName.FindStringSubmatch(e.Message)
		return name != nil && slices.Contains(checksOfValues, name[1])
	case divisionByZero, timeOverflow, resultOutOfRange:
		return false
	default:
		return string(e.SQLState[:2]) == "22" || slices.Contains(badValues, e.Number)
	}
}
