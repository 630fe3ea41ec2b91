package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// mountRoot mounts a throwaway layer over a Debian root, with /dev, /proc and
// our name server, below dir, and gives its directory.
func mountRoot(dir, lower string) (root string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// A file system of its own, because an overlay cannot lie on another one.
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		return "", fmt.Errorf("tmpfs: %w", err)
	}
	root = filepath.Join(dir, "root")
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	for _, d := range []string{root, upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return "", err
		}
	}
	if err := syscall.Mount("overlay", root, "overlay", 0, "lowerdir="+lower+",upperdir="+upper+",workdir="+work); err != nil {
		return "", fmt.Errorf("overlay: %w", err)
	}
	for _, d := range []string{"dev", "proc"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return "", err
		}
	}
	if err := syscall.Mount("proc", filepath.Join(root, "proc"), "proc", 0, ""); err != nil {
		return "", fmt.Errorf("proc: %w", err)
	}
	if err := syscall.Mount("tmpfs", filepath.Join(root, "dev"), "tmpfs", 0, "mode=755"); err != nil {
		return "", fmt.Errorf("dev: %w", err)
	}
	for name, minor := range map[string]uint64{"null": 3, "zero": 5, "random": 8, "urandom": 9} {
		path := filepath.Join(root, "dev", name)
		if err := syscall.Mknod(path, syscall.S_IFCHR|0o666, int(1<<8|minor)); err != nil {
			return "", err
		}
		if err := os.Chmod(path, 0o666); err != nil {
			return "", err
		}
	}
	return root, os.WriteFile(filepath.Join(root, "etc/resolv.conf"), []byte("nameserver 127.0.0.1\n"), 0o644)
}

func unmountRoot(dir string) (err error) {
	for _, m := range []string{"root/dev", "root/proc", "root", ""} {
		err = errors.Join(err, syscall.Unmount(filepath.Join(dir, m), syscall.MNT_DETACH))
	}
	return err
}
