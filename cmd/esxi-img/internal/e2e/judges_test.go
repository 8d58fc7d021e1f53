//go:build e2e

package e2e

import (
	"fmt"
	"strconv"
	"testing"
)

// TestJudges builds from every flavour of medium and lets sgdisk or fdisk,
// fsck.vfat and mtools say whether disk, volume and files are right.
func TestJudges(t *testing.T) {
	for _, f := range flavours {
		for _, sector := range []int64{512, 4096} {
			t.Run(fmt.Sprintf("%v/%d", f, sector), func(t *testing.T) {
				t.Parallel()
				judge(t, f, small, sector)
			})
		}
	}
	// Last and by itself: it is large.
	t.Run("full/512", func(t *testing.T) { judge(t, plain, full, 512) })
}

func judge(t *testing.T, f flavour, s size, sector int64) {
	t.Helper()
	iso := f.iso(t, s, "")
	img := judgeTable(t, build(t, iso, "--sector-size", strconv.FormatInt(sector, 10)), sector)
	img.judgeVolume(t)
	compare(t, extract(t, iso), img.read(t))
}
