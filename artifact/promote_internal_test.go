package artifact

import (
	"strings"
	"testing"
)

// TestPromotes holds which release may follow another: versions before builds,
// both as numbers.
func TestPromotes(t *testing.T) {
	release := func(text string) *ESXi {
		version, build, _ := strings.Cut(text, "-")
		return &ESXi{Version: version, Build: build, Architecture: "amd64"}
	}
	for _, c := range []struct{ have, want, why string }{
		{"8.0.2-9", "8.0.2-10", ""},
		{"8.0.2-10", "8.0.2-9", "which is older"},
		{"8.0.2-10", "8.0.2-10", ""},
		{"8.0.9-10", "8.0.10-9", ""},
		{"8.0.10-9", "8.0.9-10", "which is older"},
		{"8.0.2-10", "9.0-9", ""},
		{"9.0-9", "8.0.2-10", "which is older"},
		{"9.0-9", "9.0.0-9", ""},
		{"9.0.0.1-9", "9.0-10", "which is older"},
		{"9.0-10", "9.0.0.1-9", ""},
		{"8.0.x-9", "8.0.2-10", "cannot be told"},
		{"8.0.2-9", "8.0.2-", "cannot be told"},
		{"8.0.2.0.0-9", "8.0.2-10", "cannot be told"},
		{"8.0.2-9", "-10", "cannot be told"},
	} {
		err := promotes(release(c.have), release(c.want))
		if (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s to %s: %v, want %q", c.have, c.want, err, c.why)
		}
	}
	arm := release("8.0.3-11")
	arm.Architecture = "arm64"
	if err := promotes(release("8.0.2-10"), arm); err == nil {
		t.Error("another architecture")
	}
}
