package page

// For the tests.
var (
	Veil    = veil
	Colored = func(b []byte) int { lines, _ := colored(b); return len(lines) }
)
