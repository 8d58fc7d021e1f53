package fat32

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
)

// maxRuns bounds the runs of clusters that are held for all files together:
// 8 MiB. A volume in more pieces than that is refused.
const maxRuns = 1 << 20

// fatTable reads FAT entries through a small cache.
type fatTable struct {
	r     io.ReaderAt
	base  int64 // of the active FAT
	size  int64 // in bytes: an entry for each cluster
	pages [64]fatPage
}

const fatPageSize = 4096 // bytes: 1024 entries

type fatPage struct {
	number int64 // from 1, so that the zero value holds none
	data   []byte
}

// entry returns a cluster's entry, without the reserved bits. The cluster must
// be a valid one.
func (t *fatTable) entry(cluster uint32) (uint32, error) {
	at := int64(cluster) * fatEntrySize
	number := at/fatPageSize + 1
	p := &t.pages[number%int64(len(t.pages))]
	if p.number != number {
		start := (number - 1) * fatPageSize
		p.number = 0
		if p.data == nil {
			p.data = make([]byte, fatPageSize)
		}
		p.data = p.data[:min(fatPageSize, t.size-start)]
		if err := readFull(t.r, p.data, t.base+start); err != nil {
			return 0, fmt.Errorf("fat32: read FAT: %w", err)
		}
		p.number = number
	}
	return binary.LittleEndian.Uint32(p.data[at%fatPageSize:]) & fatMask, nil
}

// clusterSet is a set of clusters that takes memory for what is in it only.
type clusterSet struct {
	pages [][]uint64
}

const setPageClusters = 1 << 15 // 4 KiB a page

func newClusterSet(clusters int) clusterSet {
	return clusterSet{pages: make([][]uint64, (clusters+firstCluster)/setPageClusters+1)}
}

// add reports whether the cluster was not in the set.
func (s *clusterSet) add(cluster uint32) bool {
	page := &s.pages[cluster/setPageClusters]
	if *page == nil {
		*page = make([]uint64, setPageClusters/64)
	}
	word, bit := &(*page)[cluster%setPageClusters/64], uint64(1)<<(cluster%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// run is a run of clusters of a file, which ends where the next one starts.
type run struct {
	index   uint32 // of its first cluster in the file
	cluster uint32
}

// chain is where a file's or a directory's bytes lie.
type chain struct {
	runs     []run
	clusters uint32
}

// follow reads the chain that starts at a cluster and has at most limit
// clusters. Every cluster belongs to one chain only, so following all chains
// of a volume takes no more steps than it has clusters.
func (w *walker) follow(path string, first uint32, limit int64) (chain, error) {
	var c chain
	g := &w.fsys.geometry
	for cluster := first; ; {
		switch {
		case !g.valid(cluster):
			return c, corrupt(path, "%s, where clusters 2 to %d are", describe(cluster), g.Clusters+1)
		case int64(c.clusters) >= limit:
			if c.has(cluster) {
				return c, corrupt(path, "the chain loops back to cluster %d", cluster)
			}
			return c, corrupt(path, "the chain has more than the %d clusters it should have", limit)
		case !w.used.add(cluster):
			if c.has(cluster) {
				return c, corrupt(path, "the chain loops back to cluster %d", cluster)
			}
			return c, corrupt(path, "cluster %d belongs to another file, too", cluster)
		}
		if c.clusters == 0 || cluster != c.last()+1 {
			if w.runs++; w.runs > maxRuns {
				return c, corrupt(path, "the files are in more than %d pieces", maxRuns)
			}
			c.runs = append(c.runs, run{index: c.clusters, cluster: cluster})
		}
		c.clusters++
		next, err := w.fat.entry(cluster)
		if err != nil {
			return c, err
		}
		if next >= fatMinEOC {
			return c, nil
		}
		cluster = next
	}
}

// describe says what a number in the place of a cluster's is.
func describe(cluster uint32) string {
	switch cluster {
	case 0:
		return "the chain leads to a free cluster"
	case fatBad:
		return "the chain leads to a bad cluster"
	default:
		return fmt.Sprintf("the chain leads to cluster %d", cluster)
	}
}

// last returns the chain's last cluster.
func (c *chain) last() uint32 {
	r := c.runs[len(c.runs)-1]
	return r.cluster + (c.clusters - r.index) - 1
}

// has tells whether a cluster is in the chain.
func (c *chain) has(cluster uint32) bool {
	end := c.clusters
	for i := len(c.runs) - 1; i >= 0; i-- {
		r := c.runs[i]
		if cluster >= r.cluster && cluster-r.cluster < end-r.index {
			return true
		}
		end = r.index
	}
	return false
}

// content reads a file's bytes, wherever they lie.
type content struct {
	r     io.ReaderAt
	g     *Geometry
	chain chain
	size  int64
}

// ReadAt implements io.ReaderAt. It is safe for parallel use where the
// volume's reader is.
func (f *content) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("fat32: read at negative offset %d", off)
	}
	n := 0
	cluster := int64(f.g.ClusterSize)
	for n < len(b) && off < f.size {
		next := sort.Search(len(f.chain.runs), func(i int) bool { return int64(f.chain.runs[i].index)*cluster > off })
		r, end := f.chain.runs[next-1], f.size
		if next < len(f.chain.runs) {
			end = int64(f.chain.runs[next].index) * cluster
		}
		part := b[n:]
		if int64(len(part)) > end-off {
			part = part[:end-off]
		}
		at := f.g.ClusterOffset(r.cluster) + off - int64(r.index)*cluster
		if err := readFull(f.r, part, at); err != nil {
			return n, err
		}
		n += len(part)
		off += int64(len(part))
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// readFull fills b. An end within it is never taken for the end of a file.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
