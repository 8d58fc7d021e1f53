package catalog

// Shown makes a text from outside fit to be shown, as entries have theirs: one
// line of printable characters, within bounds.
func Shown(s string) string { return text(s) }
