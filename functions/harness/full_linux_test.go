package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// smallDisk mounts a file system of so many MiB, or skips the test where that is not permitted.
func smallDisk(t *testing.T, size int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=700,size="+strconv.Itoa(size)+"m"); err != nil {
		t.Skipf("needs a small file system of its own: run as root (%v)", err)
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return dir
}

// fillUp fills the disk of a folder, and returns a func that frees it.
func fillUp(t *testing.T, dir string) (free func()) {
	t.Helper()
	file, err := os.Create(filepath.Join(dir, "ballast"))
	require.NoError(t, err)
	for block := 1 << 20; block > 0; block /= 2 {
		for err = nil; err == nil; {
			_, err = file.Write(make([]byte, block))
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
	}
	require.NoError(t, file.Close())
	return func() { require.NoError(t, os.Remove(file.Name())) }
}

func TestAFullDiskIsWaitedFor(t *testing.T) {
	const size = 150 // more than the private server's files take at first
	disk := smallDisk(t, size)
	database := ownDatabase(t, filepath.Join(disk, "mysql"))
	assertFullDiskIsWaitedFor(t, disk, database.DSN())
}

// The same with a real server, with CRASH_SERVERS=1.
func TestAFullDiskOfARealServerIsWaitedFor(t *testing.T) {
	if os.Getenv("CRASH_SERVERS") == "" {
		t.Skip("installs and starts a server: set CRASH_SERVERS=1")
	}
	disk := smallDisk(t, 400) // MySQL's files take 220 at first
	script := or(os.Getenv("CRASH_DATABASE"), "mysql")
	database := newServer(t, script, strings.ToUpper(script)+"_PORT", disk)
	assertFullDiskIsWaitedFor(t, disk, "root@tcp("+database.address+")/")
}

// assertFullDiskIsWaitedFor places orders while the disk of a database is full, and frees it.
func assertFullDiskIsWaitedFor(t *testing.T, disk, dsn string) {
	t.Helper()
	p := stack{data: t.TempDir(), environ: []string{"MYSQL_DSN=" + dsn, "MYSQL_SCHEMA_PREFIX=", "KAFKA_BROKERS="}}.up(t)
	free := fillUp(t, disk)
	var accepted []string
	for refused := 0; refused < 20; {
		response, err := http.Post(p.url+"/api/orders", "application/json", strings.NewReader(body("SKU-123", 1)))
		require.NoError(t, err)
		switch response.StatusCode {
		case http.StatusCreated:
			var o order
			require.NoError(t, json.NewDecoder(response.Body).Decode(&o))
			accepted = append(accepted, o.OrderID)
		case http.StatusServiceUnavailable:
			refused++
			assert.NotEmpty(t, response.Header.Get("Retry-After"))
		default:
			require.Fail(t, "what a full disk is answered with", response.Status)
		}
		require.NoError(t, response.Body.Close())
	}
	_, status, reasons := p.health(t)
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Contains(t, reasons["create-order"], "is full", reasons)
	p.await(t, "an event has to wait", func() bool { return strings.Contains(p.log.String(), "event failed, will be retried") })

	free()
	p.await(t, "it is well", func() bool { return p.get(t, "/health", nil) == http.StatusOK })
	for _, id := range append(accepted, p.place(t, "SKU-123", 1).OrderID) {
		p.awaitStatus(t, id, "CONFIRMED")
	}
	metrics := p.metrics(t)
	for _, line := range strings.Split(metrics, "\n") {
		if strings.HasPrefix(line, "orders_delivery_retries_total{") || strings.HasPrefix(line, "orders_dead_letters_total{") {
			assert.True(t, strings.HasSuffix(line, " 0"), "nothing is held against an event: %s", line)
		}
	}
	assert.Contains(t, metrics, "orders_delivery_retries_total{")
	assert.NotContains(t, p.log.String(), "status=500")
	p.audit(t)
	p.stop(t)
}
