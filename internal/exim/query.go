package exim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Check lets Exim check the syntax of the file at path, which must lie below
// the root.
func (x Installation) Check(ctx context.Context, path string) error {
	program, err := x.program(ErrNoExim, "/usr/sbin/exim4")
	if err != nil {
		return err
	}
	out, err := x.query(ctx, queryDeadline, program, "-bV", "-C", x.Inside(path))
	if err == nil {
		return nil
	}
	if ce := x.configError(out); ce != nil {
		return ce
	}
	return fmt.Errorf("exim4 -bV -C %s: %w: %s", path, err, oneLine(out))
}

// Version gives Exim's version, such as "4.96".
func (x Installation) Version(ctx context.Context) (string, error) {
	program, err := x.program(ErrNoExim, "/usr/sbin/exim4")
	if err != nil {
		return "", err
	}
	// The version is printed before the configuration is read, so a broken
	// configuration is no obstacle.
	out, err := x.query(ctx, queryDeadline, program, "-bV", "-C", "/dev/null")
	if _, rest, ok := strings.Cut(string(out), "Exim version "); ok {
		if f := strings.Fields(rest); len(f) > 0 {
			return f[0], nil
		}
	}
	if err == nil {
		err = errors.New("it names no version")
	}
	return "", fmt.Errorf("exim4 -bV: %w: %s", err, oneLine(out))
}

// bP asks Exim about the configuration at path, whose syntax must have been
// checked: Exim writes a paniclog entry when it is asked about one that it
// cannot read, and Debian sends mail about that every day.
func (x Installation) bP(ctx context.Context, path string, args ...string) (string, error) {
	args = append([]string{"-C", x.Inside(path), "-bP"}, args...)
	out, err := x.query(ctx, queryDeadline, "/usr/sbin/exim4", args...)
	if err != nil {
		return "", fmt.Errorf("exim4 %s: %w: %s", strings.Join(args, " "), err, oneLine(out))
	}
	return string(out), nil
}

// Option gives the value of a main option in the configuration at path, with
// its macros resolved, as "exim4 -bP" prints it; "" where it is not set.
func (x Installation) Option(ctx context.Context, path, name string) (string, error) {
	if err := x.Check(ctx, path); err != nil {
		return "", err
	}
	values, err := x.options(ctx, path, name)
	if err != nil {
		return "", err
	}
	return values[0], nil
}

// options asks for several options at once. It does not check the syntax.
func (x Installation) options(ctx context.Context, path string, names ...string) ([]string, error) {
	out, err := x.bP(ctx, path, names...)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != len(names) {
		return nil, fmt.Errorf("exim4 -bP %s printed %q", strings.Join(names, " "), out)
	}
	for i, name := range names {
		rest, ok := strings.CutPrefix(lines[i], name)
		if !ok {
			return nil, fmt.Errorf("exim4 -bP %s printed %q", strings.Join(names, " "), out)
		}
		value, _ := strings.CutPrefix(strings.TrimSpace(rest), "=")
		lines[i] = strings.TrimSpace(value)
	}
	return lines, nil
}

// Macros gives every macro that is in force in the configuration at path, by
// name, with the macros inside its value resolved. Built-in macros, whose
// names start with "_", are among them.
func (x Installation) Macros(ctx context.Context, path string) (map[string]string, error) {
	if err := x.Check(ctx, path); err != nil {
		return nil, err
	}
	out, err := x.bP(ctx, path, "macros")
	if err != nil {
		return nil, err
	}
	macros := map[string]string{}
	for _, line := range strings.Split(out, "\n") {
		if name, value, ok := strings.Cut(line, "="); ok {
			macros[name] = value
		}
	}
	return macros, nil
}

// A User is the account that Exim runs as.
type User struct {
	Name     string
	UID, GID uint32
}

// User gives the account of the Exim whose configuration is at path. The
// configuration's syntax must have been checked.
func (x Installation) User(ctx context.Context, path string) (User, error) {
	values, err := x.options(ctx, path, "exim_user", "exim_group")
	if err != nil {
		return User{}, err
	}
	name, group := values[0], values[1]
	// The ids are those of the root, not of the system that we run on.
	uid, err := x.id("passwd", name)
	if err != nil {
		return User{}, err
	}
	gid, err := x.id("group", group)
	if err != nil {
		return User{}, err
	}
	return User{name, uid, gid}, nil
}

func (x Installation) id(file, name string) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	path := filepath.Join(x.Root, "etc", file)
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(data), "\n") {
		if f := strings.Split(line, ":"); len(f) > 2 && f[0] == name {
			n, err := strconv.ParseUint(f[2], 10, 32)
			return uint32(n), err
		}
	}
	return 0, fmt.Errorf("%s has no entry for %q", path, name)
}

// Selected reports whether a log_selector value has the selector on, for one
// that Exim has off by default. Of contradicting items the later counts.
func Selected(value, selector string) bool {
	on := false
	for _, item := range strings.Fields(strings.NewReplacer("+", " +", "-", " -").Replace(value)) {
		switch item[1:] {
		case "all", selector:
			on = item[0] == '+'
		}
	}
	return on
}
