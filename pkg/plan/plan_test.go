package plan_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

func file(path, content string) plan.File {
	return plan.File{Path: path, Size: int64(len(content)), Content: strings.NewReader(content)}
}

// sample is a plan of every kind of extent, and the bytes that it stands for.
func sample(t *testing.T) (*plan.Plan, []byte) {
	t.Helper()
	var volume, b plan.Builder
	volume.Literal([]byte("FAT"))
	volume.File(file("A", "payload"))
	volume.Pad(512)
	inner, err := volume.Build(512)
	if err != nil {
		t.Fatal(err)
	}
	b.Literal([]byte("MBR"))
	b.Zero(100)
	b.Zero(409)
	b.Plan(inner)
	b.File(plan.File{Path: "EMPTY"})
	b.File(file("B", "tail"))
	b.Pad(512)
	p, err := b.Build(512)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 3*512)
	copy(want, "MBR")
	copy(want[512:], "FATpayload")
	copy(want[1024:], "tail")
	return p, want
}

func TestReadsAsThePlannedBytes(t *testing.T) {
	p, want := sample(t)
	if err := iotest.TestReader(p.Reader(), want); err != nil {
		t.Error(err)
	}
	for range 2000 {
		off := rand.Int64N(p.Size + 10)
		buf := make([]byte, rand.IntN(1600))
		n, err := p.ReadAt(buf, off)
		end := min(off+int64(len(buf)), p.Size)
		switch {
		case off >= p.Size && n != 0, off < p.Size && int64(n) != end-off:
			t.Fatalf("ReadAt(%d bytes, %d) = %d, %v", len(buf), off, n, err)
		case n < len(buf) && !errors.Is(err, io.EOF), n == len(buf) && err != nil:
			t.Fatalf("ReadAt(%d bytes, %d) = %d, %v", len(buf), off, n, err)
		case n > 0 && !bytes.Equal(buf[:n], want[off:off+int64(n)]):
			t.Fatalf("ReadAt(%d bytes, %d) reads other bytes", len(buf), off)
		}
	}
}

func TestFilesKeepTheirOrderAndOffsets(t *testing.T) {
	p, _ := sample(t)
	want := []struct {
		path   string
		offset int64
	}{{"A", 515}, {"EMPTY", 0}, {"B", 1024}}
	if len(p.Files) != len(want) {
		t.Fatalf("%d files, want %d", len(p.Files), len(want))
	}
	for i, w := range want {
		if f := p.Files[i]; f.Path != w.path || f.Offset != w.offset {
			t.Errorf("file %d is %s at %d, want %s at %d", i, f.Path, f.Offset, w.path, w.offset)
		}
	}
}

func TestNeighbouringZerosAreOneExtent(t *testing.T) {
	p, _ := sample(t)
	for i := 1; i < len(p.Extents); i++ {
		if p.Extents[i].Kind == plan.Zero && p.Extents[i-1].Kind == plan.Zero {
			t.Errorf("extents %d and %d are both zero", i-1, i)
		}
	}
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*plan.Plan)
		want   string
	}{
		"gap":               {func(p *plan.Plan) { p.Extents[1].Offset++ }, "extent 1 starts at 4"},
		"short":             {func(p *plan.Plan) { p.Extents = p.Extents[:2] }, "end at 512 of 1536"},
		"beyond the end":    {func(p *plan.Plan) { p.Extents[len(p.Extents)-1].Length++ }, "bytes left"},
		"empty extent":      {func(p *plan.Plan) { p.Extents[0].Length = 0 }, "length 0"},
		"literal length":    {func(p *plan.Plan) { p.Extents[0].Data = nil }, "0 literal bytes for a length of 3"},
		"no such file":      {func(p *plan.Plan) { p.Extents[3].File = 9 }, "file 9 of 3"},
		"beyond the file":   {func(p *plan.Plan) { p.Extents[3].FileOffset = 1 }, "which has 7"},
		"negative offset":   {func(p *plan.Plan) { p.Extents[3].FileOffset = -1 }, "bytes [-1"},
		"no content":        {func(p *plan.Plan) { p.Files[0].Content = nil }, "A has no content"},
		"sector size":       {func(p *plan.Plan) { p.SectorSize = 2048 }, "neither 512 nor 4096"},
		"size":              {func(p *plan.Plan) { p.Size = 100 }, "not a positive multiple"},
		"over the limit":    {func(p *plan.Plan) { p.Size = plan.MaxSize + 512 }, "not a positive multiple"},
		"unknown kind":      {func(p *plan.Plan) { p.Extents[1].Kind = 7 }, "unknown kind 7"},
		"overflowing sizes": {func(p *plan.Plan) { p.Extents[1].Length = 1<<63 - 1 }, "bytes left"},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := sample(t)
			c.change(p)
			if err := p.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Validate() = %v, want %q", err, c.want)
			}
		})
	}
}

func TestContentThatEndsEarlyIsAnError(t *testing.T) {
	var b plan.Builder
	b.File(plan.File{Path: "CUT.V00", Size: 512, Content: strings.NewReader("short")})
	p, err := b.Build(512)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(p.Reader())
	var read *plan.ReadError
	if !errors.As(err, &read) || read.Path != "CUT.V00" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("reading gives %v, want a ReadError of CUT.V00", err)
	}
}
