package option

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Size is a number of bytes that people write with a unit: 64M, 1GiB, 4096.
// Units are powers of 1024.
type Size int64

// Set parses a size; with String and Type it makes Size a flag.
func (s *Size) Set(text string) error {
	digits := strings.TrimRight(text, "KMGTiBkmgtb")
	unit := strings.ToUpper(strings.TrimSpace(text[len(digits):]))
	shift, ok := map[string]uint{
		"": 0, "B": 0, "K": 10, "KB": 10, "KIB": 10, "M": 20, "MB": 20, "MIB": 20,
		"G": 30, "GB": 30, "GIB": 30, "T": 40, "TB": 40, "TIB": 40,
	}[unit]
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || !ok || n < 0 || n > math.MaxInt64>>shift {
		return fmt.Errorf("%q is not a size such as 64M or 1GiB", text)
	}
	*s = Size(n << shift)
	return nil
}

// String writes the size in the largest unit that divides it.
func (s Size) String() string {
	for shift, unit := uint(40), 3; shift >= 10; shift, unit = shift-10, unit-1 {
		if s != 0 && s%(1<<shift) == 0 {
			return fmt.Sprintf("%d%ciB", int64(s>>shift), "KMGT"[unit])
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Type names the flag's kind.
func (*Size) Type() string { return "SIZE" }

// UnmarshalYAML reads a size from a configuration file.
func (s *Size) UnmarshalYAML(n *yaml.Node) error {
	if err := s.Set(n.Value); err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	return nil
}
