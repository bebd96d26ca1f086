package embedded

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// childFolder makes the test binary a program that starts a server on the folder and waits to be killed.
const childFolder = "EMBEDDED_TEST_CHILD_FOLDER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		if _, err := Start(context.Background(), Options{Dir: dir, Fast: true}); err != nil {
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
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func write(t *testing.T, s *Server) {
	t.Helper()
	db := open(t, s)
	for _, statement := range []string{"CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY)", "INSERT INTO d.t VALUES (7)"} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
}

func requireWritten(t *testing.T, s *Server) {
	t.Helper()
	var a int
	require.NoError(t, open(t, s).QueryRowContext(t.Context(), "SELECT a FROM d.t").Scan(&a))
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

func TestServerGoesWithAProgramThatIsKilled(t *testing.T) {
	needsServer(t)
	dir := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childFolder+"="+dir)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	line := make([]byte, len("started\n"))
	_, err = out.Read(line)
	require.NoError(t, err)
	require.NotEmpty(t, processesOn(dir))
	require.NoError(t, child.Process.Kill())
	_ = child.Wait()

	s := start(t, Options{Dir: dir, Fast: true})
	require.NoError(t, s.Stop(t.Context()))
	assert.Empty(t, processesOn(dir))
}

func TestFolderGoesWithAServerThatIsToRemoveIt(t *testing.T) {
	needsServer(t)
	dir := filepath.Join(t.TempDir(), "gone")
	s := start(t, Options{Dir: dir, Fast: true, RemoveOnExit: true})
	require.NoError(t, s.Stop(t.Context()))
	assert.NoDirExists(t, dir)
}

func TestLongFolderGetsAShortSocket(t *testing.T) {
	needsServer(t)
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 20))
	s := start(t, Options{Dir: dir, Fast: true})
	write(t, s)
	requireWritten(t, s)
	require.NoError(t, s.Stop(t.Context()))
	assert.NoFileExists(t, s.socket)
}

func TestSecondServerOnAFolderIsRefused(t *testing.T) {
	needsServer(t)
	dir := t.TempDir()
	start(t, Options{Dir: dir, Fast: true})
	_, err := Start(t.Context(), Options{Dir: dir, Fast: true})
	require.ErrorIs(t, err, ErrInUse)
}

func TestMachineWithoutServerIsToldWhatToDo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Start(t.Context(), Options{Dir: t.TempDir(), folders: []string{}, Cache: t.TempDir()})
	require.ErrorIs(t, err, ErrNoServer)
	assert.ErrorContains(t, err, "MYSQL_DSN")
}

func TestUnfinishedInitialisationIsBegunAgain(t *testing.T) {
	needsServer(t)
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, dataName+".new", "mysql"), 0o700))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, dataName), 0o700))
	write(t, start(t, Options{Dir: dir, Fast: true}))
}
