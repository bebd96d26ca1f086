package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const debianPackage = "mariadb-server-core"

// fetched returns the server in the cache, and first fetches it if necessary: the machine's own apt downloads the packages
// of Debian or Ubuntu, and they are unpacked, not installed, without root. Concurrent programs wait for the one that fetches
// it.
func fetched(ctx context.Context, o Options) (server, error) {
	cache := o.Cache
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return server{}, fmt.Errorf("find the user's cache for a database server (set HOME): %w: %w", err, ErrNoServer)
		}
		cache = filepath.Join(user, "orders", "mariadb")
	}
	root := filepath.Join(cache, "root")
	if found, err := unpacked(root); err == nil {
		return found, nil
	}
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return server{}, ErrNoServer
		}
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return server{}, fmt.Errorf("make the cache of the database server: %w", err)
	}
	lock, err := lockFile(ctx, filepath.Join(cache, "lock"), func() {
		o.Progress("waiting for another program that fetches a database server")
	})
	if err != nil {
		return server{}, err
	}
	defer lock.Close()
	if found, err := unpacked(root); err == nil {
		return found, nil
	}
	o.Progress("no database server on this machine: fetching " + debianPackage + " (about 8 MiB) into " + cache + ", nothing is installed")
	if err := fetch(ctx, cache, root); err != nil {
		return server{}, fmt.Errorf("%w (fetching %s failed: %w)", ErrNoServer, debianPackage, err)
	}
	found, err := unpacked(root)
	if err != nil {
		return server{}, fmt.Errorf("%w (the fetched %s is of no use: %w)", ErrNoServer, debianPackage, err)
	}
	o.Progress("fetched " + debianPackage)
	return found, nil
}

// fetch fills root, which exists only if it is complete.
func fetch(ctx context.Context, cache, root string) error {
	work, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }() // nothing uses the rest
	// apt drops its rights to another user, who cannot write to this user's folder.
	as := []string{"-q", "-o", "APT::Sandbox::User=root"}
	err = download(ctx, work, as)
	if err != nil {
		// The machine's package lists are missing or old, and only root may update them: use separate lists.
		for _, folder := range []string{"lists/partial", "cache/archives/partial"} {
			if err := os.MkdirAll(filepath.Join(work, folder), 0o755); err != nil {
				return err
			}
		}
		as = append(as, "-o", "Dir::State::lists="+filepath.Join(work, "lists"), "-o", "Dir::Cache="+filepath.Join(work, "cache"))
		if _, err := apt(ctx, work, append(as, "update")...); err != nil {
			return err
		}
		if err := download(ctx, work, as); err != nil {
			return err
		}
	}
	packages, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(packages) == 0 {
		return errors.Join(err, errors.New("apt has downloaded nothing"))
	}
	tree := filepath.Join(work, "root")
	for _, p := range packages {
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", p, tree).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w: %s", filepath.Base(p), err, bytes.TrimSpace(out))
		}
	}
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	return os.Rename(tree, root)
}

// download puts the package, and its dependencies that this machine does not have, into work.
func download(ctx context.Context, work string, as []string) error {
	plan, err := apt(ctx, work, append(as, "-s", "--no-install-recommends", "install", debianPackage)...)
	if err != nil {
		return err
	}
	command := append(slices.Clone(as), "download")
	n := len(command)
	for line := range strings.Lines(plan) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Inst" {
			command = append(command, fields[1])
		}
	}
	if len(command) == n {
		return errors.New("apt does not know the package")
	}
	_, err = apt(ctx, work, command...)
	return err
}

func apt(ctx context.Context, work string, arguments ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "apt-get", arguments...)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("apt-get: %w: %s", err, bytes.TrimSpace(complaints.Bytes()))
	}
	return string(out), nil
}
