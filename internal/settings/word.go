package settings

import (
	"fmt"
	"slices"
	"strings"
)

// Word gives a setting that is one of a few words, or def where the file does
// not set it. Any other value is an error that names the file and the line.
func (f File) Word(name, def string, words ...string) (string, error) {
	v, ok := f.values[name]
	if !ok || v.text == "" {
		return def, nil
	}
	if w := strings.ToLower(v.text); slices.Contains(words, w) {
		return w, nil
	}
	last := len(words) - 1
	return def, fmt.Errorf("%s:%d: %s=%s: write %s or %s", f.path, v.line, name, v.text, strings.Join(words[:last], ", "), words[last])
}
