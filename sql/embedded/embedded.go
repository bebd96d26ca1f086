// Package embedded runs a private MySQL-compatible server for laptops and tests. Start takes a folder and returns a MariaDB
// or MySQL server that keeps its data there. The program is the machine's own or, on Debian and Ubuntu, fetched with apt
// into the user's cache. The server listens only on a unix socket and ends with the program that started it, even if that is
// killed.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// ErrNoServer means that this machine has no usable server and none could be fetched.
var ErrNoServer = errors.New("no MySQL-compatible server: install MariaDB (10.6 or newer; apt-get install mariadb-server-core, " +
	"brew install mariadb) or MySQL (8.0 or newer), or set MYSQL_DSN to a server that runs")

// ErrInUse means that another Start, here or in another process, has a server on the folder.
var ErrInUse = errors.New("the folder is in use by another program: stop that one or choose another folder")

const (
	startWithin    = 60 * time.Second // from launch to the first answer, including recovery after a crash
	folderWithin   = 3 * time.Second  // a program on its way out still holds its folder
	shutdownWithin = 10 * time.Second // from TERM to KILL
)

// Options configures a server. Only Dir is required.
type Options struct {
	// Dir keeps the server's data, its log and, if its path is short and plain, its socket. It is made Private, since the
	// server's root has no password. A folder has one server at a time.
	Dir string
	// Cache is the folder of a fetched server; by default orders/mariadb in the user's cache folder.
	Cache string
	// Fast gives up durability for speed: no flush at commit, no doublewrite. A crash may lose or damage everything, so it
	// is for tests only.
	Fast bool
	// RemoveOnExit removes Dir when the server has ended, also if this process is killed, and when Start fails on a folder
	// that is not in use.
	RemoveOnExit bool
	// Arguments are more of the server's, which override those that it gets anyway.
	Arguments []string
	// Progress gets one line about each slow step. It may be nil.
	Progress func(string)

	folders []string // searched after PATH; nil means usualFolders
}

// Server is a running server. It belongs to the process that started it.
type Server struct {
	options Options
	dir     string
	socket  string
	version string
	process *supervised
	done    chan struct{}
	stop    sync.Once
}

// Start returns a running server on Dir. On a new folder it first creates the system tables. It ends a server that an
// earlier, killed program left on the folder. It returns ErrInUse if a live program uses the folder, and ErrNoServer on a
// machine without a server. If the server ends before it answers, the error has the end of its log. ctx bounds the start,
// not the life of the server.
func Start(ctx context.Context, o Options) (*Server, error) { return startAt(ctx, o, "") }

// Again starts a server on the folder of one that has ended, at the same address.
func (s *Server) Again(ctx context.Context) (*Server, error) {
	return startAt(ctx, s.options, s.socket)
}

// startAt starts a server that listens on a socket; if that is empty, on one of its own choice.
func startAt(ctx context.Context, o Options, socket string) (*Server, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	dir, lock, err := claim(ctx, o.Dir)
	if err != nil {
		return nil, fmt.Errorf("start a database server in %q: %w", o.Dir, err)
	}
	s := &Server{options: o, dir: dir, socket: socket, done: make(chan struct{})}
	if err := s.start(ctx, o, lock); err != nil {
		return nil, fmt.Errorf("start a database server in %s: %w", dir, err)
	}
	return s, nil
}

// start takes over lock and releases it when the server has ended or could not start.
func (s *Server) start(ctx context.Context, o Options, lock *os.File) error {
	var p places
	abandon := func(err error) error {
		if o.RemoveOnExit {
			err = errors.Join(err, os.RemoveAll(s.dir))
		}
		if p.outside != "" {
			err = errors.Join(err, os.RemoveAll(p.outside))
		}
		return errors.Join(err, lock.Close())
	}
	found, err := locate(ctx, o, madeBy(s.dir))
	if err != nil {
		return abandon(err)
	}
	if p, err = place(s.dir, os.TempDir(), s.socket); err != nil {
		return abandon(err)
	}
	if err := initialise(ctx, found, s.dir, p.temporary); err != nil {
		return abandon(err)
	}
	s.socket = p.socket
	log := filepath.Join(s.dir, logName)
	if err := os.Rename(log, log+".old"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return abandon(fmt.Errorf("set the former log aside: %w", err))
	}
	remove := ""
	if o.RemoveOnExit {
		remove = s.dir
	}
	s.process, err = supervise(order{
		command:   slices.Concat([]string{found.path}, serverArguments(found, s.dir, p, o.Fast), o.Arguments),
		libraries: found.libraries,
		input:     os.DevNull,
		log:       log,
		grace:     shutdownWithin,
		folder:    remove,
		outside:   p.outside,
	})
	if err != nil {
		return abandon(err)
	}
	go s.await(lock, remove, p.outside)
	if s.version, err = s.ready(ctx); err != nil {
		// Before the folder is removed: the log explains the failure.
		err = fmt.Errorf("%w\n%s", err, s.process.tail())
		s.process.release()
		<-s.done
		return err
	}
	return nil
}

// await closes done when the server is gone and cleaned up.
func (s *Server) await(lock *os.File, folders ...string) {
	<-s.process.ended
	// If the supervisor was killed, its watch ends the server or, failing that, this call does.
	_ = endServers(context.Background(), s.dir)
	for _, folder := range folders {
		if folder != "" {
			_ = os.RemoveAll(folder)
		}
	}
	_ = lock.Close()
	close(s.done)
}

// DSN is the data source name for go-sql-driver, as root, without a database.
func (s *Server) DSN() string { return "root@unix(" + s.socket + ")/" }

// Pid is the process id of the server itself.
func (s *Server) Pid() int { return s.process.pid }

// Version is the server's name and version, like "MariaDB 10.11.14".
func (s *Server) Version() string { return s.version }

// Log returns where the server's log is, and its last lines.
func (s *Server) Log() string { return s.process.tail() }

// Done is closed when the server has ended, for whatever reason, and its folder is free again.
func (s *Server) Done() <-chan struct{} { return s.done }

// Stop shuts the server down and returns when it has ended. It kills a server that has not ended after ten seconds, or when
// ctx ends, and returns an error; the next start recovers what was committed. Stopping a server that has ended does nothing.
func (s *Server) Stop(ctx context.Context) error {
	var err error
	s.stop.Do(func() { err = s.shutdown(ctx) })
	<-s.done
	return err
}

func (s *Server) shutdown(ctx context.Context) error {
	select {
	case <-s.done:
		return nil
	default:
	}
	s.process.release()
	select {
	case <-s.done:
	case <-ctx.Done():
		signalServers(s.dir, syscall.SIGKILL)
		<-s.done
	}
	if s.process.err != nil {
		return fmt.Errorf("the database server in %s had to be killed, or failed, while it shut down (%w); "+
			"the next start recovers what was committed", s.dir, s.process.err)
	}
	return nil
}

// claim locks dir for this process: it exists, and no server of an earlier program uses it.
func claim(ctx context.Context, dir string) (string, *os.File, error) {
	for {
		path, err := makeFolder(dir)
		if err != nil {
			return "", nil, err
		}
		lock, err := lockFolder(ctx, path)
		if errors.Is(err, os.ErrNotExist) && ctx.Err() == nil {
			continue // an earlier server's RemoveOnExit has removed the folder
		}
		if err != nil {
			return "", nil, err
		}
		if err := endServers(ctx, path); err != nil {
			return "", nil, errors.Join(err, lock.Close())
		}
		if named(lock) {
			return path, lock, nil
		}
		// The same after the lock was taken.
		if err := lock.Close(); err != nil {
			return "", nil, fmt.Errorf("give back a lock that is void: %w", err)
		}
	}
}

// makeFolder creates dir and returns its canonical path, by which a server left on it is recognised.
func makeFolder(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("Options.Dir is empty")
	}
	for {
		path, err := Private(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue // an earlier server's RemoveOnExit has removed it meanwhile
		}
		return path, err
	}
}
