package privilege

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-sql-driver/mysql"

	"example.com/orders/sql/schema"
)

// The variables of the users' logins.
const (
	// SecretVariable has the secret from which the users' passwords are derived.
	SecretVariable = "MYSQL_USERS_SECRET" //nolint:gosec // the name of a variable
	// FolderVariable names a folder with a file for each user, which has the DSN that the user logs in with.
	FolderVariable = "MYSQL_USERS_DIR"
)

// shortestSecret is the fewest characters of SecretVariable: a function that knows its own password could find out a short
// secret by trying.
const shortestSecret = 16

// Logins knows the password of each user. A nil Logins means that there are no users: everything logs in as the server's DSN
// says.
type Logins struct {
	secret []byte
	folder string
}

// ReadLogins reads MYSQL_USERS_SECRET or MYSQL_USERS_DIR. It returns nil if neither is set.
func ReadLogins(config map[string]string) (*Logins, error) {
	secret, folder := config[SecretVariable], config[FolderVariable]
	switch {
	case secret != "" && folder != "":
		return nil, fmt.Errorf("%s and %s are both set: give only one of them", SecretVariable, FolderVariable)
	case folder != "":
		return &Logins{folder: folder}, nil
	case secret == "":
		return nil, nil //nolint:nilnil // there are no users
	case len(secret) < shortestSecret:
		return nil, fmt.Errorf("%s has %d characters: give at least %d random ones, as openssl rand -base64 32 prints", SecretVariable, len(secret), shortestSecret)
	}
	return &Logins{secret: []byte(secret)}, nil
}

// RandomLogins returns logins that only this process knows.
func RandomLogins() *Logins { return &Logins{secret: []byte(rand.Text())} }

// Server returns the servers as a user logs in to them: those of the user's schemas, and no others.
func (l *Logins) Server(admin schema.Server, user string) (schema.Server, error) {
	if l == nil {
		return admin, nil
	}
	tables, err := Of(user)
	if err != nil {
		return admin, err
	}
	as := admin
	as.DSN, as.Renew, as.Own = "", nil, nil
	for name := range tables {
		if _, own := admin.Own[name]; !own && as.DSN != "" {
			continue // the server of the schemas before
		}
		c, err := l.config(admin, user, name)
		if err != nil {
			return admin, err
		}
		if _, own := admin.Own[name]; !own {
			as.DSN = c.FormatDSN()
			continue
		}
		if as.Own == nil {
			as.Own = map[string]schema.Own{}
		}
		as.Own[name] = schema.Own{DSN: c.FormatDSN()}
	}
	return as, nil
}

// account returns the login of a user to the server of a schema, and its password.
func (l *Logins) account(admin schema.Server, user, name string) (login, password string, err error) {
	c, err := l.config(admin, user, name)
	if err != nil {
		return "", "", err
	}
	if c.Passwd == "" {
		return "", "", fmt.Errorf("the DSN of the user %s has no password: put it before the @, as in user:password@tcp(host:3306)/", user)
	}
	return c.User, c.Passwd, nil
}

// config returns the driver's configuration of a user's login to the server of a schema. That of a file has the user's own
// address, which counts unless the schema has a server of its own.
func (l *Logins) config(admin schema.Server, user, name string) (*mysql.Config, error) {
	var login, password string
	if l.folder != "" {
		c, err := l.read(user)
		if err != nil {
			return nil, err
		}
		if _, own := admin.Own[name]; !own {
			return c, nil
		}
		login, password = c.User, c.Passwd
	} else {
		login = Login(admin.Prefix, user)
		password = l.password(login)
	}
	// Checked before it is parsed and put together again, which drops what the driver does not know.
	if _, err := admin.Config(name); err != nil {
		return nil, err
	}
	of, err := admin.Of(name)
	if err != nil {
		return nil, err
	}
	c, err := mysql.ParseDSN(of.DSN)
	if err != nil {
		return nil, fmt.Errorf("%s is not of the form user:password@tcp(host:3306)/", of.From()) // err may have a part of the password
	}
	c.User, c.Passwd = login, password
	return c, nil
}

// read returns the login of a user from its file.
func (l *Logins) read(user string) (*mysql.Config, error) {
	path := filepath.Join(l.folder, user)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the DSN of the user %s, a file of %s: %w", user, FolderVariable, err)
	}
	c, err := mysql.ParseDSN(strings.TrimSpace(string(text)))
	if err != nil || c.User == "" {
		return nil, fmt.Errorf("%s, a file of %s, has no DSN of the form user:password@tcp(host:3306)/", path, FolderVariable)
	}
	return c, nil
}

// password derives a password: 43 characters after four that satisfy rules about the kinds of characters.
func (l *Logins) password(login string) string {
	h := hmac.New(sha256.New, l.secret)
	h.Write([]byte("orders database user " + login))
	return "Aa1-" + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
