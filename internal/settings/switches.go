package settings

// Switches are the settings that are yes or no. All are yes where the file does
// not set them.
type Switches struct {
	Patterns bool // CONNECT_ACL_PATTERNS
	Restart  bool // CONNECT_ACL_RESTART
}

// ReadSwitches reads them from the file at path. With an error those that were
// not understood are yes.
func ReadSwitches(path string) (Switches, error) {
	s := Switches{true, true}
	f, err := Read(path)
	if err != nil {
		return s, err
	}
	for _, w := range []struct {
		name string
		to   *bool
	}{
		{"CONNECT_ACL_PATTERNS", &s.Patterns},
		{"CONNECT_ACL_RESTART", &s.Restart},
	} {
		if *w.to, err = f.Bool(w.name, true); err != nil {
			return s, err
		}
	}
	return s, nil
}
