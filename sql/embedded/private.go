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

// lockName is the file by which a folder is known as one of ours: a server's, and the harness's around it.
const lockName = "lock"

// Private makes path a folder that nobody but this user can enter, and returns its one true path. A folder that is there is
// made so when it is this user's and either empty or one of ours; any other is left as it is and refused, with what to do.
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

// closeToOthers takes all rights from others, and makes sure that they have left nothing inside.
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
