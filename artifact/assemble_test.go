package artifact

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// exampleConfigs are those of the specification, a plain one and a variant's.
func exampleConfigs(tb testing.TB) [][]byte {
	tb.Helper()
	text, err := os.ReadFile("../docs/artifact-spec.md")
	if err != nil {
		tb.Fatal(err)
	}
	var found [][]byte
	for _, m := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(text, -1) {
		if strings.Contains(string(m[1]), `"extents"`) {
			found = append(found, m[1])
		}
	}
	if len(found) != 2 {
		tb.Fatalf("%d configs", len(found))
	}
	return found
}

// Whatever a config says, what is to be written lies on the target, in order
// and without overlap, and with the zeros is all of the image.
func FuzzGoal(f *testing.F) {
	kickstarts := []string{
		"vmaccepteula\ninstall --firstdisk\n%include /tmp/rootpw\nreboot\n",
		"vmaccepteula\ninstall --firstdisk=local\n%include /tmp/rootpw\nreboot\n",
	}
	for i, c := range exampleConfigs(f) {
		f.Add(c, kickstarts[i], int64(0), 0, false)
		f.Add(c, kickstarts[i], int64(1<<40), 4096, true)
		f.Add(c, kickstarts[i], int64(36700160+512), 512, false)
		f.Add([]byte(strings.ReplaceAll(string(c), `"version": 1}`, `"version": 2}`)), kickstarts[i], int64(1<<33), 512, false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, kickstart string, size int64, sector int, unique bool) {
		c, err := ParseConfig(raw)
		if err != nil || len(kickstart) > MaxKickstart || size < 0 || sector != 0 && sector != 512 && sector != 4096 || size%int64(max(sector, c.Disk.SectorSize)) != 0 {
			return
		}
		g, err := newGoal(&Image{Config: c}, []byte(kickstart), demand{size, sector, unique})
		if err != nil {
			return
		}
		if size != 0 && g.size != size || size == 0 && !unique && (sector == 0 || sector == c.Disk.SectorSize) && g.size != c.Disk.Size {
			t.Errorf("the goal has %d bytes on a target of %d", g.size, size)
		}
		var at, covered int64
		for i := range g.chunks {
			x := &g.chunks[i]
			if x.offset < at || x.length <= 0 || x.length > PieceSize || x.end() > g.size || x.own != nil && int64(len(x.own)) != x.length {
				t.Fatalf("chunk %d: %d bytes at %d after %d", i, x.length, x.offset, at)
			}
			if x.own == nil && (x.layer < 0 || x.layer+x.length > max(c.Disk.Size, baseSize(c))) {
				t.Fatalf("chunk %d: %d bytes at %d of the layer", i, x.length, x.layer)
			}
			at = x.end()
			covered += x.length
		}
		for _, z := range g.zeros {
			covered += z.length
			for i := range g.chunks {
				if z.length <= 0 || z.overlaps(g.chunks[i].offset, g.chunks[i].length) {
					t.Fatalf("zeros of %d bytes at %d", z.length, z.offset)
				}
			}
		}
		if size == 0 && covered != g.size {
			t.Errorf("%d of %d bytes are covered", covered, g.size)
		}
	})
}

func baseSize(c *Config) int64 {
	if c.Base == nil {
		return 0
	}
	return c.Base.DiskSize
}

// What the host is told of the disk follows its identifiers, and nothing else
// of it changes.
func TestWithIDs(t *testing.T) {
	old := [2]uuid.UUID{{1}, {2}}
	ids := [2]uuid.UUID{{3}, {4}}
	text := `{"x": "` + old[0].String() + `-", "partition" : "` + old[1].String() + `","disk":"` + old[0].String() + `"}`
	want := `{"x": "` + old[0].String() + `-", "partition" : "` + ids[1].String() + `","disk":"` + ids[0].String() + `"}`
	if got, err := withIDs(text, old[0], old[1], ids); err != nil || got != want {
		t.Errorf("got %s, %v", got, err)
	}
	for _, same := range []string{"", `{"version": 1}`} {
		if got, err := withIDs(same, old[0], old[1], ids); err != nil || got != same {
			t.Errorf("%s became %s, %v", same, got, err)
		}
	}
	for _, bad := range []string{"no JSON", `{"disk":"` + old[1].String() + `","partition":"` + old[0].String() + `"}`, `{"disk":"` + old[0].String() + `"}`} {
		if got, err := withIDs(bad, old[0], old[1], ids); err == nil {
			t.Errorf("%s became %s", bad, got)
		}
	}
}

func TestWithout(t *testing.T) {
	for _, c := range []struct {
		out  span
		want []span
	}{
		{span{0, 5}, []span{{10, 10}, {30, 5}}},
		{span{5, 8}, []span{{13, 7}, {30, 5}}},
		{span{12, 3}, []span{{10, 2}, {15, 5}, {30, 5}}},
		{span{18, 13}, []span{{10, 8}, {31, 4}}},
		{span{0, 100}, nil},
	} {
		got := without([]span{{10, 10}, {30, 5}}, c.out)
		if len(got) != len(c.want) {
			t.Fatalf("without %v: %v", c.out, got)
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("without %v: %v, want %v", c.out, got, c.want)
			}
		}
	}
}
