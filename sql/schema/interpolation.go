package schema

import (
	"fmt"
	"maps"
	"regexp"
	"strings"
	"sync"

	"github.com/go-sql-driver/mysql"
)

// The driver writes escaped values into the text of a statement. That is safe only while the server reads the text as UTF-8:
// in gbk the backslash before a quote can be the second byte of a character, and then the quote ends the value.
const (
	charset   = "utf8mb4"
	collation = "utf8mb4_general_ci"
)

// Few DSNs need them, so that functions start without.
var (
	utf8Charset   = compiled(`(?i)^utf8(mb3|mb4)?$`)
	utf8Collation = compiled(`(?i)^utf8(mb3|mb4)?_\w+$`)
	variableName  = compiled(`(?i)^[a-z]\w*$`)
	literal       = compiled(`^('[^'\\]*'|[\w.+-]+)$`)
)

func compiled(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

// refuseUnsafe fails for a DSN that makes the server read statements differently from how the driver writes them. c is the
// parsed DSN.
func (s Server) refuseUnsafe(c *mysql.Config) error {
	_, parameters, _ := strings.Cut(s.DSN[strings.LastIndexByte(s.DSN, '/'):], "?")
	for parameter := range strings.SplitSeq(parameters, "&") {
		name, value, _ := strings.Cut(parameter, "=")
		if name != "charset" {
			continue
		}
		for one := range strings.SplitSeq(value, ",") {
			if !utf8Charset().MatchString(one) {
				return fmt.Errorf("%s has charset=%s: values are put into statements, which is safe in UTF-8 only: leave charset out, or give utf8mb4", s.From(), value)
			}
		}
	}
	if c.Collation != "" && !utf8Collation().MatchString(c.Collation) {
		return fmt.Errorf("%s has collation=%s: values are put into statements, which is safe in UTF-8 only: leave collation out, or give one of utf8mb4", s.From(), c.Collation)
	}
	// The driver copies names and values of session variables into a SET statement.
	for name, value := range c.Params {
		if !variableName().MatchString(name) || !literal().MatchString(value) {
			return fmt.Errorf("%s sets the session variable %q to something other than a number, a word or a quoted text: leave it out", s.From(), name)
		}
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "character_set_") || strings.HasPrefix(lower, "collation_") {
			return fmt.Errorf("%s sets %s: statements are sent in UTF-8: leave it out", s.From(), name)
		}
	}
	return nil
}

// sessionVariables returns the variables that a DSN sets, overridden by those that a session needs. They include the
// character set although the driver requests it in the handshake: the server's init_connect may change it, and a server with
// skip-character-set-client-handshake ignores what clients request.
func sessionVariables(c *mysql.Config, needed map[string]string) map[string]string {
	all := map[string]string{}
	for name, value := range c.Params {
		all[strings.ToLower(name)] = value
	}
	maps.Copy(all, needed)
	all["character_set_client"], all["character_set_results"], all["collation_connection"] = charset, charset, collation
	if c.Collation != "" {
		all["collation_connection"] = c.Collation
	}
	return all
}
