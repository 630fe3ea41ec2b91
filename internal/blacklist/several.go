package blacklist

import (
	"context"
	"errors"
)

// ListAll is List for the databases of several firewalls, whose counts for a
// host add up as sync adds them. One without a table has counted nobody.
func ListAll(ctx context.Context, paths []string, f Filter) ([]Host, error) {
	all := map[string]*Host{}
	for _, path := range paths {
		hosts, err := List(ctx, path, Filter{})
		if errors.Is(err, ErrNoTable) {
			continue
		} else if err != nil {
			return nil, err
		}
		for _, h := range hosts {
			if sum := all[h.IP]; sum == nil {
				all[h.IP] = &h
			} else {
				sum.Add(h)
			}
		}
	}
	hosts := make([]Host, 0, len(all))
	for _, h := range all {
		hosts = append(hosts, *h)
	}
	return f.Apply(hosts), nil
}

// Add adds what another database has about the same host.
func (h *Host) Add(other Host) {
	h.Count, h.Reports = Plus(h.Count, other.Count), Plus(h.Reports, other.Reports)
	if h.First.IsZero() || other.First.Before(h.First) {
		h.First = other.First
	}
	if other.Last.After(h.Last) {
		h.Last = other.Last
	}
}

// Writable reports whether the table is one to which rows may be added and from
// which old ones may be deleted: Symbiosis' and Sympl's, not nftfw's, which
// keeps its own in order. A database without a table yet is not.
func Writable(ctx context.Context, path string) (bool, error) {
	s, err := DetectSchema(ctx, path)
	if errors.Is(err, ErrNoTable) {
		return false, nil
	}
	return s == SchemaSymbiosis, err
}
