package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-sql-driver/mysql"
)

const (
	dataName      = "data"
	temporaryName = "tmp"
	logName       = "server.log"
	madeByName    = "made-by"
	socketName    = "mysql.sock"
	// maxSocket is a socket path length that every system accepts: some allow only 104 bytes.
	maxSocket = 90
	// maxFolder leaves room for the names of schemas and tables in the servers' path limit of 512 bytes.
	maxFolder = 350
)

// madeBy returns the flavour of the server that created the data in dir, empty for a new folder.
func madeBy(dir string) flavour {
	text, err := os.ReadFile(filepath.Join(dir, dataName, madeByName))
	if err != nil {
		return ""
	}
	return flavour(strings.TrimSpace(string(text)))
}

// Initialised returns whether a folder has the data of a server, which Start would use.
func Initialised(dir string) bool { return madeBy(dir) != "" }

// initialise creates the system tables of a new folder. It works in a temporary folder that replaces data when complete, so
// that an interrupted run starts again.
func initialise(ctx context.Context, s server, dir, temporary string) error {
	if err := os.MkdirAll(filepath.Join(dir, temporaryName), 0o700); err != nil {
		return fmt.Errorf("make the folder for the server's temporary tables: %w", err)
	}
	data := filepath.Join(dir, dataName)
	if madeBy(dir) != "" {
		return nil
	}
	// Data without the mark is not ours, or lost the mark in a crash of the machine: never remove data of value.
	if err := os.Remove(data); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s was not made by this program: move it away or choose another folder: %w", data, err)
	}
	fresh := filepath.Join(dir, dataName+".new")
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("clear the folder of the database server: %w", err)
	}
	command := append([]string{s.path}, commonArguments(s, fresh, temporary)...)
	input := os.DevNull
	if s.flavour == mariadb {
		if err := os.MkdirAll(filepath.Join(fresh, "mysql"), 0o700); err != nil {
			return fmt.Errorf("make the data folder: %w", err)
		}
		input = filepath.Join(dir, "system-tables.sql")
		if err := writeSystemTables(s, input); err != nil {
			return err
		}
		defer func() { _ = os.Remove(input) }() // it is written again when needed
		command = append(command, "--bootstrap", "--log-warnings=0", "--max-allowed-packet=8M", "--net-buffer-length=16K",
			logFileSize, "--innodb-flush-log-at-trx-commit=0")
	} else {
		command = append(command, "--initialize-insecure")
	}
	p, err := supervise(order{
		command: command, libraries: s.libraries, input: input, log: filepath.Join(dir, "initialise.log"), grace: shutdownWithin,
	})
	if err != nil {
		return err
	}
	select {
	case <-p.ended:
	case <-ctx.Done():
		p.release()
		<-p.ended
		return fmt.Errorf("make the system tables: %w", ctx.Err())
	}
	if p.err != nil {
		return fmt.Errorf("make the system tables: %w\n%s", p.err, p.tail())
	}
	if err := os.WriteFile(filepath.Join(fresh, madeByName), []byte(s.flavour+"\n"), 0o600); err != nil {
		return fmt.Errorf("mark the data folder: %w", err)
	}
	if err := os.Rename(fresh, data); err != nil {
		return fmt.Errorf("put the data folder in place: %w", err)
	}
	return nil
}

// writeSystemTables writes the SQL that mariadb-install-db feeds to the server, without the help tables.
func writeSystemTables(s server, path string) error {
	var text strings.Builder
	text.WriteString("CREATE DATABASE IF NOT EXISTS mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\nSET @skip_auth_anonymous=1;\n")
	for _, name := range []string{"system_tables", "performance_tables", "system_tables_data"} {
		script := systemTables(s.share, name)
		if script == "" {
			continue // not every version has all of them
		}
		content, err := os.ReadFile(script)
		if err != nil {
			return fmt.Errorf("read the system tables: %w", err)
		}
		text.Write(content)
		text.WriteByte('\n')
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("write the system tables: %w", err)
	}
	return nil
}

// logFileSize is the same at every start: servers before 10.9 reject another one for existing data.
const logFileSize = "--innodb-log-file-size=48M"

// commonArguments returns the arguments of every run on a data folder.
func commonArguments(s server, data, temporary string) []string {
	arguments := []string{
		"--no-defaults", "--basedir=" + s.base, "--datadir=" + data,
		// Not the machine's: a starting server removes other servers' temporary tables there.
		"--tmpdir=" + temporary,
		"--lc-messages-dir=" + s.share, "--character-sets-dir=" + filepath.Join(s.share, "charsets"),
	}
	if os.Geteuid() == 0 {
		arguments = append(arguments, "--user=root") // otherwise a server refuses to run as root
	}
	if s.flavour == mysqld {
		arguments = append(arguments, "--secure-file-priv=NULL")
	}
	return arguments
}

// serverArguments returns the arguments of a serving server.
func serverArguments(s server, dir string, p places, fast bool) []string {
	arguments := append(commonArguments(s, filepath.Join(dir, dataName), p.temporary),
		"--socket="+p.socket, "--pid-file="+filepath.Join(dir, "server.pid"),
		"--skip-networking", "--skip-name-resolve", "--character-set-server=utf8mb4", "--max-connections=300",
		"--performance-schema=OFF")
	if s.flavour == mariadb {
		// Without skip-ssl, servers from 11.4 on generate keys at every start, which takes seconds.
		arguments = append(arguments, "--skip-log-bin", "--skip-ssl", logFileSize)
	} else {
		arguments = append(arguments, "--disable-log-bin", "--mysqlx=OFF")
	}
	if fast {
		return append(arguments, "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0")
	}
	return append(arguments, "--innodb-buffer-pool-size=128M", "--innodb-flush-log-at-trx-commit=1")
}

// places has the locations of what need not be in the server's folder.
type places struct {
	socket    string
	temporary string // for its temporary tables
	outside   string // a folder for what does not fit into dir, removed after the server; may be empty
}

// place chooses the locations: in dir, or in a new folder under temporary if the path of dir is too long for a socket or has
// special characters. socket is the path of a server that has ended, so that the next one gets the same; it is empty
// otherwise. The folder may exist even if place fails.
func place(dir, temporary, socket string) (p places, err error) {
	if len(dir) > maxFolder {
		return p, fmt.Errorf("the path has %d bytes: choose a folder whose path has at most %d", len(dir), maxFolder)
	}
	p = places{socket: filepath.Join(dir, socketName), temporary: filepath.Join(dir, temporaryName)}
	if fits(p.socket) {
		return p, nil
	}
	if p.outside, err = makeOutside(temporary, socket); err != nil {
		return p, fmt.Errorf("make a folder for the server's socket: %w", err)
	}
	p.socket = filepath.Join(p.outside, socketName)
	if strings.Contains(dir, separator) {
		link := filepath.Join(p.outside, temporaryName)
		if err := os.Symlink(p.temporary, link); err != nil {
			return p, fmt.Errorf("link to the folder for the server's temporary tables: %w", err)
		}
		p.temporary = link
	}
	return p, nil
}

func makeOutside(temporary, socket string) (folder string, err error) {
	if socket != "" {
		if err := os.Mkdir(filepath.Dir(socket), 0o700); err != nil {
			return "", err
		}
		return filepath.Dir(socket), nil
	}
	if temporary, err = filepath.Abs(temporary); err != nil || !fits(filepath.Join(temporary, "orders-0123456789", socketName)) {
		temporary = "/tmp"
	}
	return os.MkdirTemp(temporary, "orders-")
}

// separator separates the folders of the server's tmpdir, which is a list.
const separator = ":"

// fits returns whether path is usable for a socket, and in a DSN, which ends the user name at its last @.
func fits(path string) bool {
	return len(path) <= maxSocket && !strings.ContainsAny(path, "@"+separator)
}

// ready waits until the server answers and returns its name and version.
func (s *Server) ready(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr = "root", "unix", s.socket
	c.Logger = &mysql.NopLogger{} // refused connections are expected here
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return "", err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	var version string
	err = poll(ctx, func() bool {
		select {
		case <-s.process.ended:
			return true
		default:
		}
		return db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version) == nil
	})
	if err != nil {
		return "", fmt.Errorf("the server does not answer: %w", err)
	}
	if version == "" {
		return "", errors.Join(errors.New("the server has ended"), s.process.err)
	}
	if number, _, found := strings.Cut(version, "-MariaDB"); found {
		return "MariaDB " + number, nil
	}
	return "MySQL " + version, nil
}
