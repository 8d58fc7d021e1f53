package iso

import (
	"bytes"
	"fmt"
	"testing"
)

// BenchmarkOpen opens an image with as many files as an installer has.
func BenchmarkOpen(b *testing.B) {
	root := dir("\x00")
	for i := range 170 {
		root.kids = append(root.kids, file(fmt.Sprintf("M%06d.V00;1", i), "x"))
	}
	f := fixture{root: root}
	img := f.build()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(bytes.NewReader(img), int64(len(img))); err != nil {
			b.Fatal(err)
		}
	}
}
