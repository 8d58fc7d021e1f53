package quantity_test

import (
	"testing"

	"github.com/esxi-img/esxi-img/pkg/quantity"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.00 KiB", 10 << 10: "10.0 KiB", 36 << 20: "36.0 MiB",
		684 << 20: "684 MiB", 1<<20 - 1: "1.00 MiB", 5 << 40: "5.00 TiB", 1 << 60: "1048576 TiB",
	} {
		if got := quantity.Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 images", 1: "1 image", 2: "2 images"} {
		if got := quantity.Count(n, "image", "images"); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
}
