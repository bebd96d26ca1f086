package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// usualFolders are searched after PATH: many systems keep servers out of a user's PATH.
var usualFolders = []string{
	"/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/usr/libexec", "/usr/local/mysql/bin", "/usr/local/mariadb/bin",
	"/opt/homebrew/bin", "/opt/homebrew/opt/mariadb/bin", "/opt/homebrew/opt/mysql/bin",
	"/usr/local/opt/mariadb/bin", "/usr/local/opt/mysql/bin",
}

// flavour is MariaDB or MySQL; neither can use the other's data folder.
type flavour string

const (
	mariadb flavour = "mariadb"
	mysqld  flavour = "mysql"
)

// server is a server program on this machine.
type server struct {
	flavour   flavour
	path      string
	base      string // of the installation
	share     string // its messages, character sets and the SQL of its system tables
	libraries string // LD_LIBRARY_PATH of an unpacked server
}

// locate finds a server on this machine, of the given flavour unless it is empty, or fetches one.
func locate(ctx context.Context, o Options, wanted flavour) (server, error) {
	folders := o.folders
	if folders == nil {
		folders = usualFolders
	}
	folders = append(filepath.SplitList(os.Getenv("PATH")), folders...)
	for _, f := range []flavour{mariadb, mysqld} {
		if wanted != "" && wanted != f {
			continue
		}
		for _, folder := range folders {
			if found, ok := installed(folder, f); ok {
				return found, nil
			}
		}
	}
	if wanted == mysqld {
		return server{}, fmt.Errorf("the folder was made by MySQL, which is not to be found: %w", ErrNoServer)
	}
	return fetched(ctx, o)
}

// installed returns the server in a folder of programs.
func installed(folder string, f flavour) (server, bool) {
	program := map[flavour]string{mariadb: "mariadbd", mysqld: "mysqld"}[f]
	path, err := exec.LookPath(filepath.Join(folder, program))
	if err != nil || !filepath.IsAbs(path) {
		return server{}, false
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return server{}, false
	}
	if strings.HasSuffix(resolved, "mariadbd") {
		f = mariadb // on some systems mysqld is another name of it
	}
	return complete(server{flavour: f, path: resolved, base: filepath.Dir(filepath.Dir(resolved))})
}

// complete finds the files that a server needs besides its program.
func complete(s server) (server, bool) {
	shares := []string{filepath.Join(s.base, "share/mysql"), filepath.Join(s.base, "share/mariadb"), filepath.Join(s.base, "share")}
	// Oracle's own packages add the release to the name, like share/mysql-8.4.
	if versioned, err := filepath.Glob(filepath.Join(s.base, "share/mysql-[0-9]*")); err == nil {
		shares = append(shares, versioned...)
	}
	for _, share := range shares {
		s.share = share
		if s.flavour == mysqld {
			if _, err := os.Stat(filepath.Join(s.share, "charsets")); err == nil {
				return s, true
			}
			continue
		}
		if systemTables(s.share, "system_tables") != "" {
			return s, true
		}
	}
	return s, false
}

// systemTables returns the path of a script of MariaDB's system tables, under its new or its old name; empty if it does not
// exist.
func systemTables(share, name string) string {
	for _, prefix := range []string{"mariadb_", "mysql_"} {
		path := filepath.Join(share, prefix+name+".sql")
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// unpacked returns the server in a tree of unpacked Debian packages.
func unpacked(root string) (server, error) {
	s := server{flavour: mariadb, path: filepath.Join(root, "usr/sbin/mariadbd"), base: filepath.Join(root, "usr")}
	libraries, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu*"))
	if err != nil || len(libraries) == 0 {
		return s, errors.New("the packages have no libraries")
	}
	s.libraries = libraries[0] + ":" + filepath.Join(root, "lib", filepath.Base(libraries[0]))
	if _, err := os.Stat(s.path); err != nil {
		return s, err
	}
	s, ok := complete(s)
	if !ok {
		return s, errors.New("the packages have no system tables")
	}
	return s, nil
}
