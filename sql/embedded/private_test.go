package embedded

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const stranger = 12345 // another user

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Mode() & (fs.ModePerm | fs.ModeSticky)
}

// open777 creates a folder that everybody can enter, with files in it.
func open777(t *testing.T, files ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "folder")
	require.NoError(t, os.Mkdir(path, 0o777))
	require.NoError(t, os.Chmod(path, 0o777)) // whatever the umask is
	for _, name := range files {
		require.NoError(t, os.WriteFile(filepath.Join(path, name), nil, 0o666))
	}
	return path
}

// give gives a file to another user, which only root can do.
func give(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	require.NoError(t, os.Lchown(path, stranger, stranger))
}

func TestFolderIsMadePrivate(t *testing.T) {
	before := syscall.Umask(0)
	t.Cleanup(func() { syscall.Umask(before) })
	parent := t.TempDir()
	fresh := filepath.Join(parent, "a", "b")
	link := filepath.Join(parent, "link")
	linked := open777(t, lockName)
	require.NoError(t, os.Symlink(linked, link))
	for name, test := range map[string]struct{ path, is string }{
		"a new one":              {fresh, fresh},
		"an empty one":           {open777(t), ""},
		"one of ours":            {open777(t, lockName, "harness.json"), ""},
		"a link to one of ours":  {link, linked},
		"one that is so already": {fresh, fresh},
	} {
		t.Run(name, func(t *testing.T) {
			path, err := Private(test.path)
			require.NoError(t, err)
			if test.is == "" {
				test.is = test.path
			}
			want, err := filepath.EvalSymlinks(test.is)
			require.NoError(t, err)
			assert.Equal(t, want, path)
			assert.Equal(t, fs.FileMode(0o700), modeOf(t, path))
		})
	}
	assert.Equal(t, fs.FileMode(0o700), modeOf(t, filepath.Dir(fresh)), "what is made on the way too")
}

func TestFolderThatIsUsedForOtherThingsIsLeftAlone(t *testing.T) {
	path := open777(t, "letter.txt")
	_, err := Private(path)
	assert.ErrorContains(t, err, "chmod 700")
	assert.Equal(t, fs.FileMode(0o777), modeOf(t, path))
	require.NoError(t, os.Chmod(path, 0o700))
	_, err = Private(path)
	assert.NoError(t, err, "it is its user's wish now")

	temporary := open777(t, lockName)
	require.NoError(t, os.Chmod(temporary, 0o777|fs.ModeSticky))
	_, err = Private(temporary)
	assert.ErrorContains(t, err, "chmod 700")
	assert.Equal(t, 0o777|fs.ModeSticky, modeOf(t, temporary))

	file := filepath.Join(path, "letter.txt")
	_, err = Private(file)
	assert.Error(t, err)
}

func TestFolderOfAnotherUserIsRefused(t *testing.T) {
	path := open777(t)
	give(t, path)
	_, err := Private(path)
	assert.ErrorContains(t, err, "belongs to user 12345")
	assert.Equal(t, fs.FileMode(0o777), modeOf(t, path))
}

func TestLinkOfAnotherUserIsRefused(t *testing.T) {
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(open777(t), link))
	give(t, link)
	_, err := Private(link)
	assert.ErrorContains(t, err, "is a link of user 12345")
}

func TestAFolderWithFilesOfAnotherUserIsRefused(t *testing.T) {
	for _, planted := range []string{lockName, "kafka"} {
		path := open777(t, lockName, "kafka")
		give(t, filepath.Join(path, planted))
		_, err := Private(path)
		require.ErrorContains(t, err, filepath.Join(path, planted)+" belongs to user 12345")
		assert.Equal(t, fs.FileMode(0o700), modeOf(t, path), "nothing more is put there")
	}
}

// TestServerKeepsItsFilesToItself starts a server from a program with a permissive umask.
func TestServerKeepsItsFilesToItself(t *testing.T) {
	needsServer(t)
	before := syscall.Umask(0)
	t.Cleanup(func() { syscall.Umask(before) })
	dir := open777(t)
	s := start(t, Options{Dir: dir, Fast: true})
	write(t, s)

	assert.Equal(t, fs.FileMode(0o700), modeOf(t, dir))
	assert.Equal(t, fs.FileMode(0o700), modeOf(t, filepath.Dir(s.socket)))
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSocket != 0 {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			assert.Zero(t, info.Mode().Perm()&0o077, "%s is %s", path, info.Mode())
		}
		return err
	}))
}
