package plan

// Builder lays extents end to end. The zero value is ready for use.
type Builder struct {
	plan Plan
	at   int64
}

// Offset returns where the next extent will begin.
func (b *Builder) Offset() int64 { return b.at }

// Zero adds n zero bytes; neighbouring runs of zeros become one extent.
func (b *Builder) Zero(n int64) {
	if n <= 0 {
		return
	}
	if last := len(b.plan.Extents) - 1; last >= 0 && b.plan.Extents[last].Kind == Zero {
		b.plan.Extents[last].Length += n
		b.at += n
		return
	}
	b.add(Extent{Length: n, Kind: Zero})
}

// Pad adds zeros up to the next multiple of align.
func (b *Builder) Pad(align int64) {
	if over := b.at % align; over != 0 {
		b.Zero(align - over)
	}
}

// Literal adds data, which must not be changed afterwards.
func (b *Builder) Literal(data []byte) {
	if len(data) > 0 {
		b.add(Extent{Length: int64(len(data)), Kind: Literal, Data: data})
	}
}

// File adds a whole file, in one run, and notes its offset.
func (b *Builder) File(f File) {
	f.Offset = 0
	if f.Size > 0 {
		f.Offset = b.at
		b.add(Extent{Length: f.Size, Kind: Content, File: len(b.plan.Files)})
	}
	b.plan.Files = append(b.plan.Files, f)
}

// Plan adds another plan's extents and files: a volume inside a disk.
func (b *Builder) Plan(p *Plan) {
	base, firstFile := b.at, len(b.plan.Files)
	for _, f := range p.Files {
		if f.Size > 0 {
			f.Offset += base
		}
		b.plan.Files = append(b.plan.Files, f)
	}
	for _, e := range p.Extents {
		if e.Kind == Zero {
			b.Zero(e.Length)
			continue
		}
		if e.Kind == Content {
			e.File += firstFile
		}
		b.add(e)
	}
}

// Build returns the plan, or what is wrong with it.
func (b *Builder) Build(sectorSize int) (*Plan, error) {
	p := b.plan
	p.SectorSize = sectorSize
	p.Size = b.at
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return &p, nil
}

func (b *Builder) add(e Extent) {
	e.Offset = b.at
	b.at += e.Length
	b.plan.Extents = append(b.plan.Extents, e)
}
