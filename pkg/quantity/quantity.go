// Package quantity writes sizes and numbers as people read them.
package quantity

import "fmt"

// Bytes writes a size as people read it: exact below a KiB, else with three
// digits and a binary unit.
func Bytes(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), 0
	for value >= 1023.5 && unit < 4 {
		value, unit = value/1024, unit+1
	}
	digits := 0
	switch {
	case value < 9.995:
		digits = 2
	case value < 99.95:
		digits = 1
	}
	return fmt.Sprintf("%.*f %ciB", digits, value, "BKMGT"[unit])
}

// Count writes a number and what it counts, in the singular or the plural.
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
