package dberror_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/dberror"
	"example.com/orders/sql/servertest"
)

func TestAValueThatTheServerNeverAcceptsIsBad(t *testing.T) {
	db := servertest.Table(t, servertest.Empty(t), facts)
	servertest.Exec(t, db, `CREATE TABLE held_values (
		id INT PRIMARY KEY, word VARCHAR(4) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, code VARCHAR(4) CHARACTER SET ascii COLLATE ascii_bin,
		number INT NOT NULL DEFAULT 1, level BIGINT, tiny TINYINT UNSIGNED, at DATETIME(6), kind ENUM('ONE'), hash BINARY(2),
		CONSTRAINT held_values_level CHECK (level >= 0)) ENGINE = InnoDB`)
	servertest.Exec(t, db, "INSERT INTO held_values (id, level) VALUES (0, 9223372036854775807)")
	insert := func(column string) string { return "INSERT INTO held_values (id, " + column + ") VALUES (1, ?)" }
	for name, c := range map[string]struct {
		statement string
		value     any
		bad       bool
	}{
		"text that is not UTF-8":                {insert("word"), "\xff", true},
		"bytes that are not UTF-8":              {insert("word"), []byte("a\xff"), true},
		"text that is too long":                 {insert("word"), "äöüßé", true},
		"not ASCII":                             {insert("code"), "ä", true},
		"an emoji for ASCII":                    {insert("code"), "😀", true},
		"not UTF-8 for ASCII":                   {insert("code"), "\xff", true},
		"not ASCII, compared":                   {"UPDATE held_values SET number = 2 WHERE code = ?", "ä", true},
		"not ASCII, in a list":                  {"SELECT id FROM held_values WHERE code IN (?, 'x')", "ä", true},
		"a number out of range":                 {insert("number"), int64(1) << 40, true},
		"below zero":                            {insert("tiny"), -1, true},
		"text for a number":                     {insert("number"), "many", true},
		"nothing":                               {insert("number"), nil, true},
		"not a time":                            {insert("at"), "2026-99-99", true},
		"not a time for a function":             {"INSERT INTO held_values (id, at) VALUES (1, STR_TO_DATE(?, '%Y'))", "soon", true},
		"not of the set":                        {insert("kind"), "TWO", true},
		"too many bytes":                        {insert("hash"), []byte{1, 2, 3}, true},
		"not JSON":                              {"INSERT INTO held_values (id, word) VALUES (1, JSON_UNQUOTE(?))", `"\u12"`, true},
		"the sum is out of range":               {"UPDATE held_values SET level = level + ?", 1, false},
		"the time is out of range":              {"UPDATE held_values SET at = TIMESTAMPADD(MICROSECOND, ?, NOW(6))", int64(1) << 62, false},
		"a CHECK that is not known":             {insert("level"), -1, false},
		"a row that is there already":           {"INSERT INTO held_values (id) VALUES (?)", 0, false},
		"a table that is not there":             {"INSERT INTO missing (id) VALUES (?)", 1, false},
		"a statement that is not understood":    {"INSERT ? INTO held_values", 1, false},
		"a column without a value or a default": {"INSERT INTO held_values (code) VALUES (?)", "x", false},
	} {
		t.Run(name, func(t *testing.T) {
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			defer func() { require.NoError(t, tx.Rollback()) }()
			_, err = tx.ExecContext(t.Context(), c.statement, c.value)
			require.Error(t, err)
			assert.Equal(t, c.bad, dberror.IsBadValue(err), "%v", err)
			assert.False(t, dberror.IsTransient(err), "%v", err)
		})
	}
	for name, fits := range map[string]any{"an emoji": "😀😀😀😀", "control characters": "\x00\x01\x7f"} {
		servertest.Exec(t, db, "DELETE FROM held_values WHERE id = 1")
		assert.EqualValues(t, 1, servertest.Exec(t, db, insert("word"), fits), name)
	}
}

func TestBadValuesAreKnownByTheErrorOfEitherServer(t *testing.T) {
	refusal := func(number uint16, state, message string) error {
		e := &mysql.MySQLError{Number: number, Message: message}
		copy(e.SQLState[:], state)
		return fmt.Errorf("store: %w", e)
	}
	for name, c := range map[string]struct {
		err error
		bad bool
	}{
		"nothing":                         {nil, false},
		"no error of a server":            {errors.New("22001"), false},
		"invalid JSON, MySQL":             {refusal(3140, "22032", "Invalid JSON text"), true},
		"invalid JSON argument, MySQL":    {refusal(3141, "22032", "Invalid JSON text in argument 1"), true},
		"invalid JSON, MariaDB":           {refusal(4038, "HY000", "Syntax error in JSON text"), true},
		"too large for a packet":          {refusal(1153, "08S01", "Got a packet bigger than 'max_allowed_packet' bytes"), true},
		"too large for the driver":        {fmt.Errorf("store: %w", mysql.ErrPktTooLarge), true},
		"CHECK of a value, MySQL":         {refusal(3819, "HY000", "Check constraint 'order_items_quantity' is violated."), true},
		"CHECK of a value, MariaDB":       {refusal(4025, "23000", "CONSTRAINT `order_items_quantity` failed for `orders`.`order_items`"), true},
		"CHECK of a level, MySQL":         {refusal(3819, "HY000", "Check constraint 'inventory_available' is violated."), false},
		"CHECK of a level, MariaDB":       {refusal(4025, "23000", "CONSTRAINT `inventory_available` failed for `inventory`.`inventory`"), false},
		"CHECK that says nothing":         {refusal(4025, "23000", ""), false},
		"lock wait":                       {refusal(1205, "HY000", "Lock wait timeout exceeded"), false},
		"no SQLSTATE":                     {refusal(1366, "", "Incorrect string value"), true},
		"a foreign key that is not there": {refusal(1452, "23000", "Cannot add or update a child row"), false},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, c.bad, dberror.IsBadValue(c.err)) })
	}
}
