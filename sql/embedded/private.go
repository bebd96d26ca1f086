package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// lockName is the file that marks a folder as belonging to a server of this package, or to the harness around it.
const lockName = "lock"

// Private ensures that only this user can enter the folder path, and returns its canonical path. It changes an existing
// folder if it belongs to this user and is empty or marked; it refuses any other and says what to do.
func Private(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", path, err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", fmt.Errorf("make the folder: %w", err)
	}
	link, err := os.Lstat(path)
	if err != nil {
		return "", fmt.Errorf("look at the folder: %w", err)
	}
	if owner := ownerOf(link); link.Mode()&fs.ModeSymlink != 0 && owner != 0 && owner != os.Geteuid() {
		return "", fmt.Errorf("%s is a link of user %d, who can have it lead anywhere: choose another folder", path, owner)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", fmt.Errorf("find the folder: %w", err)
	}
	return path, closeToOthers(path)
}

// closeToOthers removes all rights of others, and checks that they have left no files inside.
func closeToOthers(path string) (err error) {
	folder, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the folder: %w", err)
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	info, err := folder.Stat()
	if err != nil {
		return fmt.Errorf("look at the folder: %w", err)
	}
	if owner := ownerOf(info); owner != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, and this is user %d: choose another folder, or have it changed by chown", path, owner, os.Geteuid())
	}
	const others = 0o077
	if info.Mode().Perm()&others != 0 {
		inside, err := folder.ReadDir(-1)
		if err != nil {
			return fmt.Errorf("read the folder: %w", err)
		}
		ours := len(inside) == 0 || slices.ContainsFunc(inside, func(e fs.DirEntry) bool { return e.Name() == lockName })
		if !ours || info.Mode()&fs.ModeSticky != 0 {
			return fmt.Errorf("others can enter %s, which is used for other things: choose an empty folder or a new one, or chmod 700 it", path)
		}
		if err := folder.Chmod(0o700); err != nil {
			return fmt.Errorf("keep others out of the folder: %w", err)
		}
		if info, err = folder.Stat(); err != nil || info.Mode().Perm()&others != 0 {
			return errors.Join(err, fmt.Errorf("others can enter %s, and its file system does not let that be changed: choose a folder elsewhere", path))
		}
	}
	inside, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("read the folder: %w", err)
	}
	for _, entry := range inside {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look into the folder: %w", err)
		}
		if owner := ownerOf(info); owner != os.Geteuid() {
			return fmt.Errorf("%s belongs to user %d, and this is user %d: move it away, or choose another folder", filepath.Join(path, entry.Name()), owner, os.Geteuid())
		}
	}
	return nil
}

// ownerOf returns the user id of a file's owner.
func ownerOf(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return -1
}
