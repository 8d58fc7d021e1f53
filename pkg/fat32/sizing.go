package fat32

import (
	"fmt"
	"math/bits"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

// clusterMargin keeps volumes whose size we choose off the border to FAT16,
// where drivers differ by a few (section "FAT Type Determination" asks for 16).
const clusterMargin = 16

// clusterStep says that a volume of more than over sectors gets clusters of
// perCluster sectors.
type clusterStep struct {
	over       int64
	perCluster int
}

// clusterSteps is the choice of mkfs.vfat -F 32, version 4.2. It goes by the
// number of sectors, not by bytes, so 4096-byte sectors get larger clusters.
func clusterSteps() [5]clusterStep {
	const miB = 2048 // sectors of 512 bytes; taken for those of 4096 too
	return [...]clusterStep{{0, 1}, {260 * miB, 8}, {8192 * miB, 16}, {16384 * miB, 32}, {32768 * miB, 64}}
}

// pickClusterSize returns the bytes per cluster that mkfs.vfat chooses for a
// volume of size bytes.
func pickClusterSize(sectorSize int, size int64) int {
	perCluster := 1
	for _, step := range clusterSteps() {
		if size/int64(sectorSize) > step.over {
			perCluster = step.perCluster
		}
	}
	return min(perCluster*sectorSize, maxClusterSize)
}

// need is what a volume has to hold.
type need struct {
	tree *tree
	opts *Options
}

// count returns how many clusters the files and directories take, and how many
// the volume must have.
func (n *need) count(clusterSize int) (used, total int64) {
	size := int64(clusterSize)
	for _, d := range n.tree.dirs {
		used += ceilDiv(n.tree.dirBytes(d, n.opts.DirHeadroom), size)
	}
	for _, f := range n.tree.files {
		used += ceilDiv(f.size, size)
	}
	return used, used + ceilDiv(n.opts.Headroom, size)
}

// geometry chooses cluster size and volume size, where the options leave them
// open, and lays the volume out. It returns the clusters in use, too.
func (n *need) geometry() (Geometry, int64, error) {
	clusterSize, size := n.opts.ClusterSize, n.opts.Size
	switch {
	case size == 0:
		var err error
		if clusterSize, size, err = n.choose(0); err != nil {
			return Geometry{}, 0, err
		}
	case clusterSize == 0:
		clusterSize = pickClusterSize(n.opts.SectorSize, size)
	}
	return n.exact(clusterSize, size)
}

// choose returns the smallest volume size, from a least one on, that holds it
// all, and the cluster size that goes with it.
func (n *need) choose(least int64) (clusterSize int, size int64, err error) {
	o := n.opts
	for _, step := range clusterSteps() {
		clusterSize, over := step.perCluster*o.SectorSize, step.over
		if o.ClusterSize != 0 {
			clusterSize, over = o.ClusterSize, 0
		}
		if clusterSize > maxClusterSize {
			break
		}
		g, err := n.smallest(clusterSize)
		if err != nil {
			return 0, 0, err
		}
		// Larger clusters need a smaller FAT: the size may fall below the step.
		size := alignUp(max(g.Size(), (over+1)*int64(o.SectorSize), least), o.RoundTo)
		if o.ClusterSize != 0 || pickClusterSize(o.SectorSize, size) == clusterSize {
			return clusterSize, size, nil
		}
	}
	return 0, 0, errVolumeTooLarge()
}

// smallest returns the least volume with clusters of that size.
func (n *need) smallest(clusterSize int) (Geometry, error) {
	_, clusters := n.count(clusterSize)
	if clusters > plan.MaxVolume/int64(clusterSize) {
		return Geometry{}, errVolumeTooLarge()
	}
	clusters = max(clusters, MinClusters+clusterMargin)
	g := newGeometry(n.opts, clusterSize)
	g.setFAT(ceilDiv((clusters+firstCluster)*fatEntrySize, int64(g.SectorSize)))
	g.TotalSectors = (g.FirstDataOffset + clusters*int64(clusterSize)) / int64(g.SectorSize)
	g.Clusters = int(clusters)
	return g, nil
}

// exact lays out a volume of exactly size bytes.
func (n *need) exact(clusterSize int, size int64) (Geometry, int64, error) {
	if size > plan.MaxVolume {
		return Geometry{}, 0, errVolumeTooLarge()
	}
	g := newGeometry(n.opts, clusterSize)
	g.TotalSectors = size / int64(g.SectorSize)
	g.fill()
	used, clusters := n.count(clusterSize)
	if int64(g.Clusters) < max(clusters, MinClusters) {
		_, enough, err := n.choose(size + int64(g.SectorSize))
		if err != nil {
			return Geometry{}, 0, err
		}
		return Geometry{}, 0, &SizeError{Size: size, Need: enough}
	}
	if used > maxUsedClusters {
		return Geometry{}, 0, fmt.Errorf("fat32: the files take %d clusters of %d bytes, more than %d: choose larger clusters",
			used, clusterSize, maxUsedClusters)
	}
	return g, used, nil
}

func newGeometry(o *Options, clusterSize int) Geometry {
	return Geometry{
		SectorSize:    o.SectorSize,
		ClusterSize:   clusterSize,
		FATs:          numFATs,
		HiddenSectors: o.HiddenSectors,
		RootCluster:   firstCluster,
	}
}

// setFAT places FATs of that many sectors, and the data behind them. The
// reserved sectors grow until the data is aligned.
func (g *Geometry) setFAT(sectors int64) {
	sector := int64(g.SectorSize)
	g.SectorsPerFAT = sectors
	g.FirstDataOffset = alignUp((minReserved+int64(g.FATs)*sectors)*sector, dataAlign)
	g.ReservedSectors = int(g.FirstDataOffset/sector - int64(g.FATs)*sectors)
}

// fill finds the smallest FATs that hold an entry for each of the clusters
// which then fit into the volume's sectors.
func (g *Geometry) fill() {
	sector, size := int64(g.SectorSize), g.Size()
	// The solution of fat*sector = 4*clusters(fat), less what rounding and
	// the reserved sectors can take off it.
	cluster := int64(g.ClusterSize)
	fat := size/cluster*fatEntrySize*cluster/(sector*(cluster+int64(g.FATs)*fatEntrySize)) - 2
	for ; ; fat++ {
		g.setFAT(max(fat, 1))
		clusters := max(size-g.FirstDataOffset, 0) / int64(g.ClusterSize)
		g.Clusters = int(clusters)
		if (clusters+firstCluster)*fatEntrySize <= g.SectorsPerFAT*sector {
			return
		}
	}
}

// check fills in defaults and refuses what no volume can have.
func (o *Options) check() error {
	if o.SectorSize == 0 {
		o.SectorSize = 512
	}
	if o.SectorSize != 512 && o.SectorSize != 4096 {
		return fmt.Errorf("fat32: sector size %d is neither 512 nor 4096", o.SectorSize)
	}
	if int64(o.HiddenSectors)*int64(o.SectorSize)%dataAlign != 0 {
		return fmt.Errorf("fat32: %d hidden sectors of %d bytes are not a multiple of %d bytes",
			o.HiddenSectors, o.SectorSize, dataAlign)
	}
	if c := o.ClusterSize; c != 0 && (c < o.SectorSize || c > maxClusterSize || bits.OnesCount(uint(c)) != 1) {
		return fmt.Errorf("fat32: cluster size %d is no power of two from %d to %d", c, o.SectorSize, maxClusterSize)
	}
	if o.Size < 0 || o.Size > plan.MaxVolume || o.Size%int64(o.SectorSize) != 0 {
		return fmt.Errorf("fat32: volume size %d is no multiple of %d up to %d", o.Size, o.SectorSize, int64(plan.MaxVolume))
	}
	if o.RoundTo == 0 {
		o.RoundTo = int64(o.SectorSize)
	}
	if o.RoundTo < 0 || o.RoundTo > plan.MaxVolume || o.RoundTo%int64(o.SectorSize) != 0 {
		return fmt.Errorf("fat32: a size rounded to %d is no multiple of %d up to %d", o.RoundTo, o.SectorSize, int64(plan.MaxVolume))
	}
	if o.Headroom < 0 || o.Headroom > plan.MaxVolume {
		return fmt.Errorf("fat32: headroom of %d bytes is outside 0 to %d", o.Headroom, int64(plan.MaxVolume))
	}
	if o.DirHeadroom < 0 || o.DirHeadroom > MaxDirEntries {
		return fmt.Errorf("fat32: directory headroom of %d entries is outside 0 to %d", o.DirHeadroom, MaxDirEntries)
	}
	return nil
}

func errVolumeTooLarge() error {
	return fmt.Errorf("fat32: the files need a volume of more than %d bytes", int64(plan.MaxVolume))
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }

func alignUp(n, align int64) int64 { return ceilDiv(n, align) * align }
