package page

import (
	"cmp"
	"slices"
)

// pair is two images whose difference somebody may look for: a release and the
// one before it, a variant and its base. A is the older one, or the base.
type pair struct{ A, B *Row }

func (p pair) href(answered bool) string {
	if answered {
		return "compare.html?a=" + p.A.ID + "&b=" + p.B.ID
	}
	return "diff/" + p.A.ID + "-" + p.B.ID + ".html"
}

// pairs lists them, by the order of the newer ones.
func (s *Site) pairs() []pair {
	byRank := make([]*Row, 0, len(s.Rows))
	for i := range s.Rows {
		if r := &s.Rows[i]; !r.Broken() {
			byRank = append(byRank, r)
		}
	}
	slices.SortStableFunc(byRank, func(a, b *Row) int { return cmp.Compare(a.rank, b.rank) })
	var out []pair
	newer := map[string]*Row{} // by repository
	for _, r := range byRank {
		if r.Variant {
			if b := s.base(r); b != nil {
				out = append(out, pair{b, r})
			}
			continue
		}
		if n := newer[r.Repository]; n != nil {
			out = append(out, pair{r, n})
		}
		newer[r.Repository] = r
	}
	return out
}

// nearby are the pairs that an image is one of.
func (s *Site) nearby(id string, pairs []pair) []nearby {
	var out []nearby
	for _, p := range pairs {
		switch id {
		case p.A.ID:
			out = append(out, nearby{"to " + p.B.name() + suffix(p.B), p.href(s.Answered)})
		case p.B.ID:
			out = append(out, nearby{"from " + p.A.name() + suffix(p.A), p.href(s.Answered)})
		}
	}
	return out
}

func suffix(r *Row) string {
	if text := r.release(); text != "" {
		return " (ESXi " + text + ")"
	}
	return ""
}
