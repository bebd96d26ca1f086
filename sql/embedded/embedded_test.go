package embedded

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// childFolder makes the test binary a program that starts a server on the folder and waits to be killed. childRemoves makes
// that server remove its folder when it ends.
const (
	childFolder  = "EMBEDDED_TEST_CHILD_FOLDER"
	childRemoves = "EMBEDDED_TEST_CHILD_REMOVES"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		if _, err := Start(context.Background(), Options{Dir: dir, Fast: true, RemoveOnExit: os.Getenv(childRemoves) != ""}); err != nil {
			panic(err)
		}
		_, _ = os.Stdout.WriteString("started\n")
		select {}
	}
	os.Exit(m.Run())
}

func needsServer(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a database server")
	}
}

func start(t *testing.T, o Options) *Server {
	t.Helper()
	o.Progress = func(line string) { t.Log(line) }
	s, err := Start(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Stop(context.Background()) })
	return s
}

func open(t *testing.T, s *Server) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", s.DSN())
	require.NoError(t, err)
	return db
}

func write(t *testing.T, s *Server) {
	t.Helper()
	db := open(t, s)
	defer db.Close()
	for _, statement := range []string{"CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY)", "INSERT INTO d.t VALUES (7)"} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
}

func requireWritten(t *testing.T, s *Server) {
	t.Helper()
	db := open(t, s)
	defer db.Close()
	var a int
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT a FROM d.t").Scan(&a))
	assert.Equal(t, 7, a)
}

func TestDataSurviveAStopAndAKill(t *testing.T) {
	needsServer(t)
	dir := t.TempDir()
	s := start(t, Options{Dir: dir})
	assert.Regexp(t, `^(MariaDB|MySQL) \d+\.`, s.Version())
	write(t, s)
	require.NoError(t, s.Stop(t.Context()))
	require.NoError(t, s.Stop(t.Context()), "stopping again does nothing")

	s = start(t, Options{Dir: dir})
	requireWritten(t, s)
	require.NoError(t, syscall.Kill(s.Pid(), syscall.SIGKILL))
	<-s.Done()

	requireWritten(t, start(t, Options{Dir: dir}))
}

func TestAServerThatWasKilledIsStartedAgainAtItsAddress(t *testing.T) {
	needsServer(t)
	for name, folder := range map[string]string{"socket in the folder": "", "socket elsewhere": strings.Repeat("x", maxSocket)} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{Dir: filepath.Join(t.TempDir(), folder)})
			write(t, s)
			require.NoError(t, syscall.Kill(s.Pid(), syscall.SIGKILL))
			<-s.Done()
			assert.Contains(t, s.Log(), "the end of "+filepath.Join(s.dir, logName)+":\n")

			again, err := s.Again(t.Context())
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, again.Stop(context.Background())) })
			assert.Equal(t, s.DSN(), again.DSN())
			requireWritten(t, again)
			require.NoError(t, s.Stop(t.Context()), "the server has ended already")
			requireWritten(t, again)
		})
	}
}

// startChild runs a separate program with a server on dir.
func startChild(t *testing.T, dir string, environment ...string) *exec.Cmd {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(append(os.Environ(), childFolder+"="+dir), environment...)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	t.Cleanup(func() { _ = child.Process.Kill() })
	_, err = out.Read(make([]byte, len("started\n")))
	require.NoError(t, err)
	require.NotEmpty(t, processesOn(dir))
	return child
}

func kill(t *testing.T, child *exec.Cmd) {
	t.Helper()
	require.NoError(t, child.Process.Kill())
	_ = child.Wait()
}

// killSupervisors kills the watch before the supervisor that started it: in the other order the program, which notices the
// end of its supervisor, could make the watch end the server.
func killSupervisors(dir string) {
	processes := processesOn(dir)
	slices.SortFunc(processes, func(a, b process) int { return b.pid - a.pid })
	for _, p := range processes {
		if p.supervisor {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
	}
}

func requireNoProcesses(t *testing.T, dir string) {
	t.Helper()
	require.Eventually(t, func() bool { return len(processesOn(dir)) == 0 }, 20*time.Second, 20*time.Millisecond)
}

func TestServerGoesWithAProgramThatIsKilled(t *testing.T) {
	needsServer(t)
	dir := t.TempDir()
	kill(t, startChild(t, dir))
	requireNoProcesses(t, dir)
	write(t, start(t, Options{Dir: dir, Fast: true}))
}

func TestStartWaitsForTheServerOfAKilledProgram(t *testing.T) {
	needsServer(t)
	for name, environment := range map[string][]string{
		"that keeps its folder":         nil,
		"that takes its folder with it": {childRemoves + "=yes"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "dir")
			kill(t, startChild(t, dir, environment...))
			s := start(t, Options{Dir: dir, Fast: true})
			write(t, s)
			require.NoError(t, s.Stop(t.Context()))
			assert.Empty(t, processesOn(dir))
		})
	}
}

func TestStartEndsAnOrphanedServer(t *testing.T) {
	needsServer(t)
	dir := t.TempDir()
	child := startChild(t, dir)
	// A stopped watch ignores the end of its supervisor until its own end.
	require.NoError(t, child.Process.Signal(syscall.SIGSTOP))
	killSupervisors(dir)
	kill(t, child)
	var left []process
	require.Eventually(t, func() bool {
		left = processesOn(dir)
		return len(left) == 1
	}, 20*time.Second, 20*time.Millisecond, "the server has lost its program and its supervisor")
	s := start(t, Options{Dir: dir, Fast: true})
	assert.NotEqual(t, left[0].pid, s.Pid())
	write(t, s)
}

func TestServerGoesWhenItsSupervisorIsKilled(t *testing.T) {
	needsServer(t)
	dir := t.TempDir()
	s := start(t, Options{Dir: dir, Fast: true})
	killSupervisors(dir)
	<-s.Done()
	assert.Empty(t, processesOn(dir))
}

func TestFolderGoesWithAProgramThatIsKilled(t *testing.T) {
	needsServer(t)
	dir := filepath.Join(t.TempDir(), "gone")
	kill(t, startChild(t, dir, childRemoves+"=yes"))
	requireNoProcesses(t, dir)
	assert.NoDirExists(t, dir)
}

func TestStrangerOnAFolderIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	stranger := exec.Command("/bin/sh", "-c", "read -r _; exit 7", "stranger", "--datadir="+filepath.Join(dir, dataName))
	hold, err := stranger.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, stranger.Start())
	require.NoError(t, endServers(t.Context(), dir))
	require.NoError(t, hold.Close())
	var exit *exec.ExitError
	require.ErrorAs(t, stranger.Wait(), &exit)
	assert.Equal(t, 7, exit.ExitCode(), "it ended by itself and by no signal")
}

func TestServerThatCannotStartSaysWhy(t *testing.T) {
	needsServer(t)
	dir := t.TempDir()
	require.NoError(t, start(t, Options{Dir: dir, Fast: true}).Stop(t.Context()))
	require.NoError(t, os.WriteFile(filepath.Join(dir, dataName, "ibdata1"), []byte("no tablespace"), 0o600))
	_, err := Start(t.Context(), Options{Dir: dir, Fast: true})
	require.ErrorContains(t, err, "the server has ended")
	assert.ErrorContains(t, err, "ibdata1", "the log tells the reason")
	assert.Empty(t, processesOn(dir))
}

func TestForeignDataAreNeverRemoved(t *testing.T) {
	needsServer(t)
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	mine := filepath.Join(dir, dataName, "thesis.txt")
	require.NoError(t, os.Mkdir(filepath.Dir(mine), 0o700))
	require.NoError(t, os.WriteFile(mine, nil, 0o600))
	_, err := Start(t.Context(), Options{Dir: dir, Fast: true})
	require.ErrorContains(t, err, "choose another folder")
	assert.FileExists(t, mine)
}

func TestStartEndsWithItsContext(t *testing.T) {
	needsServer(t)
	dir := filepath.Join(t.TempDir(), "dir")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Start(ctx, Options{Dir: dir, Fast: true, RemoveOnExit: true})
	require.ErrorIs(t, err, context.Canceled)
	requireNoProcesses(t, dir) // the watch outlives its supervisor by a moment
	assert.NoDirExists(t, dir)
}

func TestFolderGoesWithAServerThatIsToRemoveIt(t *testing.T) {
	needsServer(t)
	dir := filepath.Join(t.TempDir(), "gone")
	s := start(t, Options{Dir: dir, Fast: true, RemoveOnExit: true})
	require.NoError(t, s.Stop(t.Context()))
	assert.NoDirExists(t, dir)
}

func TestAFolderThatGoesWhileItIsMadeIsMadeAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	ctx, cancel := context.WithCancel(t.Context())
	var remover sync.WaitGroup
	remover.Go(func() {
		for ctx.Err() == nil {
			_ = os.Remove(dir) // it may not exist
		}
	})
	for range 1000 {
		path, err := makeFolder(dir)
		if !assert.NoError(t, err) {
			break
		}
		assert.Equal(t, filepath.Base(dir), filepath.Base(path))
	}
	cancel()
	remover.Wait()
}

func TestAFolderMayHaveAnyName(t *testing.T) {
	needsServer(t)
	parent := t.TempDir()
	odd := "@ :#?%20)('\"$`;,=&*\\日本"
	cases := map[string]struct{ dir, temporary string }{
		"long":                          {strings.Repeat("long", 20), ""},
		"as long as it may be":          {strings.Repeat("x", 200) + "/" + strings.Repeat("y", maxFolder-202-len(parent)), ""},
		"odd":                           {odd, ""},
		"odd, temporary files too":      {odd + "2", filepath.Join(parent, "a@b c")},
		"odd, temporary files relative": {odd + "3", "."},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Chdir(parent)
			if c.temporary != "" {
				require.NoError(t, os.MkdirAll(c.temporary, 0o700))
				t.Setenv("TMPDIR", c.temporary)
			}
			dir := filepath.Join(parent, c.dir)
			s := start(t, Options{Dir: dir, Fast: true})
			write(t, s)
			requireWritten(t, s)
			db := open(t, s)
			_, err := db.ExecContext(t.Context(), "CREATE TEMPORARY TABLE d.scratch (a INT) ENGINE=InnoDB")
			require.NoError(t, err)
			require.NoError(t, db.Close())
			require.NoError(t, s.Stop(t.Context()))
			assert.NoDirExists(t, filepath.Dir(s.socket), "its own folder goes with it")

			requireWritten(t, start(t, Options{Dir: dir, Fast: true}))
		})
	}
}

func TestAFolderWithTooLongAPathIsRefused(t *testing.T) {
	needsServer(t)
	dir := filepath.Join(t.TempDir(), strings.Repeat("x", 200), strings.Repeat("y", 200))
	_, err := Start(t.Context(), Options{Dir: dir, Fast: true})
	require.ErrorContains(t, err, "at most 350")
}

func TestSecondServerOnAFolderIsRefused(t *testing.T) {
	needsServer(t)
	dir := t.TempDir()
	start(t, Options{Dir: dir, Fast: true})
	_, err := Start(t.Context(), Options{Dir: dir, Fast: true})
	require.ErrorIs(t, err, ErrInUse)
}

func TestAMachineWithoutAServerGetsAnErrorWithWhatToDo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Start(t.Context(), Options{Dir: t.TempDir(), folders: []string{}, Cache: t.TempDir()})
	require.ErrorIs(t, err, ErrNoServer)
	assert.ErrorContains(t, err, "MYSQL_DSN")
}

func TestAServerThatWasFetchedNeedsNeitherAptNorAPath(t *testing.T) {
	needsServer(t)
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	if _, err := unpacked(filepath.Join(cache, "orders", "mariadb", "root")); err != nil {
		t.Skipf("no server was fetched: %v", err)
	}
	t.Setenv("PATH", "")
	write(t, start(t, Options{Dir: t.TempDir(), Fast: true, folders: []string{}}))
}

func TestAUserWithoutAHomeGetsAnErrorWithWhatToSet(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("HOME", "")
	t.Setenv("XDG_CACHE_HOME", "")
	_, err := Start(t.Context(), Options{Dir: t.TempDir(), folders: []string{}})
	require.ErrorIs(t, err, ErrNoServer)
	assert.ErrorContains(t, err, "set HOME")
}

func TestUnfinishedInitialisationIsBegunAgain(t *testing.T) {
	needsServer(t)
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, dataName+".new", "mysql"), 0o700))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, dataName), 0o700))
	write(t, start(t, Options{Dir: dir, Fast: true}))
}
