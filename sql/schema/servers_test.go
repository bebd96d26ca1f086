package schema_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/schema"
)

const stock = "stock:other@tcp(127.0.0.2:3306)/"

func TestASchemaIsOnItsOwnServerElseOnThatOfAll(t *testing.T) {
	server := schema.Server{DSN: dsn, Prefix: "shop_", Own: map[string]schema.Own{schema.Inventory: {DSN: stock}}}
	for name, address := range map[string]string{schema.Orders: "127.0.0.1:3306", schema.Inventory: "127.0.0.2:3306", "": "127.0.0.1:3306"} {
		c, err := server.Config(name)
		require.NoError(t, err)
		assert.Equal(t, address, c.Addr, name)
		if name != "" {
			assert.Equal(t, "shop_"+name, c.DBName)
		}
	}
	one, err := server.Of(schema.Inventory)
	require.NoError(t, err)
	assert.Equal(t, []any{stock, "shop_", "MYSQL_DSN_INVENTORY"}, []any{one.DSN, one.Prefix, one.From()})
	address, err := one.Address()
	require.NoError(t, err)
	assert.Equal(t, "tcp(127.0.0.2:3306)", address)
}

func TestASchemaWithoutAServerSaysWhatToSet(t *testing.T) {
	server := schema.Server{Own: map[string]schema.Own{schema.Orders: {DSN: dsn}}}
	_, err := server.Open(schema.Orders, 1)
	require.NoError(t, err)
	_, err = server.Open(schema.Inventory, 1)
	require.ErrorContains(t, err, "the schema inventory has no server: set MYSQL_DSN_INVENTORY, or MYSQL_DSN")
	_, err = server.Open("", 1)
	require.ErrorContains(t, err, "MYSQL_DSN is not set")
	_, err = server.Parts()
	require.ErrorContains(t, err, "the schema inventory has no server")
	_, err = schema.Server{}.Config(schema.Orders)
	require.ErrorContains(t, err, "MYSQL_DSN")
}

func TestErrorsNameTheVariableOfTheSchema(t *testing.T) {
	for name, own := range map[string]string{
		"not a DSN": "secret@127.0.0.1:3306", "a database": dsn + "shop", "no TLS": "u:secret@tcp(db:3306)/",
		"a charset": dsn + "?charset=gbk", "a collation": dsn + "?collation=gbk_bin", "a variable": dsn + "?character_set_client=gbk",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := schema.Server{DSN: dsn, Own: map[string]schema.Own{schema.Payments: {DSN: own}}}.Config(schema.Payments)
			require.ErrorContains(t, err, "MYSQL_DSN_PAYMENTS")
			assert.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestPartsAreTheServersWithTheirSchemas(t *testing.T) {
	own := func(all ...string) map[string]schema.Own {
		servers := map[string]schema.Own{}
		for i := 0; i < len(all); i += 2 {
			servers[all[i]] = schema.Own{DSN: all[i+1]}
		}
		return servers
	}
	for name, c := range map[string]struct {
		own  map[string]schema.Own
		some []string
		want map[string][]string // by the variable
	}{
		"one server":            {nil, nil, map[string][]string{"MYSQL_DSN": schema.All}},
		"the same server again": {own(schema.Inventory, dsn, schema.Orders, dsn), nil, map[string][]string{"MYSQL_DSN_ORDERS": schema.All}},
		"one apart": {own(schema.Inventory, stock), nil, map[string][]string{
			"MYSQL_DSN": {schema.Orders, schema.Payments, schema.Notifications, schema.Operations}, "MYSQL_DSN_INVENTORY": {schema.Inventory},
		}},
		"two together": {own(schema.Inventory, stock, schema.Payments, stock), nil, map[string][]string{
			"MYSQL_DSN": {schema.Orders, schema.Notifications, schema.Operations}, "MYSQL_DSN_INVENTORY": {schema.Inventory, schema.Payments},
		}},
		"of some": {own(schema.Inventory, stock), []string{schema.Inventory}, map[string][]string{"MYSQL_DSN_INVENTORY": {schema.Inventory}}},
	} {
		t.Run(name, func(t *testing.T) {
			parts, err := schema.Server{DSN: dsn, Prefix: "shop_", Own: c.own}.Parts(c.some...)
			require.NoError(t, err)
			found := map[string][]string{}
			for _, part := range parts {
				assert.Equal(t, "shop_", part.Prefix)
				found[part.From()] = part.Schemas
				_, err := part.Config("")
				require.NoError(t, err)
			}
			assert.Equal(t, c.want, found)
		})
	}
}
