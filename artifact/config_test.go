package artifact_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/artifact"
)

// encoded is the config of a small image.
func encoded(tb testing.TB) []byte {
	tb.Helper()
	_, p := pack(tb, fixed(tb))
	b, err := p.Config.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// object is JSON that a test changes.
type object = map[string]any

func at(o object, path ...any) any {
	var v any = o
	for _, p := range path {
		switch key := p.(type) {
		case string:
			v = v.(object)[key]
		case int:
			list := v.([]any)
			v = list[(key+len(list))%len(list)]
		}
	}
	return v
}

func obj(o object, path ...any) object { return at(o, path...).(object) }

// dataExtent is the index of the first extent of a file that has data.
func dataExtent(o object) int {
	for i := range o["extents"].([]any) {
		e := obj(o, "extents", i)
		if e["sha256"] != nil && e["offset"] == obj(o, "files", 0)["offset"] {
			return i
		}
	}
	panic("no file has an extent")
}

func TestConfigsThatAreRefused(t *testing.T) {
	good := encoded(t)
	const zeros = "0000000000000000000000000000000000000000000000000000000000000000"
	last := func(o object, list string) object { return obj(o, list, -1) }
	for name, c := range map[string]struct {
		change func(o object)
		want   string
	}{
		"later major version":    {func(o object) { o["version"] = "2.0" }, "later version"},
		"no version":             {func(o object) { delete(o, "version") }, "is not a version"},
		"odd version":            {func(o object) { o["version"] = "1.00" }, "is not a version"},
		"architecture":           {func(o object) { obj(o, "esxi")["architecture"] = "x86_64" }, "neither amd64 nor arm64"},
		"terminal escape":        {func(o object) { obj(o, "esxi")["profile"] = "\x1b[2J" }, "not text"},
		"long text":              {func(o object) { obj(o, "esxi")["vendor"] = strings.Repeat("v", 5000) }, "over the limit"},
		"iso in a folder":        {func(o object) { obj(o, "iso")["name"] = "/home/me/esxi.iso" }, "has a folder"},
		"iso digest":             {func(o object) { obj(o, "iso")["sha256"] = strings.ToUpper(zeros[1:] + "a") }, "lower-case"},
		"short digest":           {func(o object) { obj(o, "iso")["sha256"] = "00" }, "64 digits"},
		"sector size":            {func(o object) { obj(o, "disk")["sectorSize"] = 2048 }, "neither 512 nor 4096"},
		"disk too large":         {func(o object) { obj(o, "disk")["size"] = 17 << 30 }, "positive multiple"},
		"disk of half a sector":  {func(o object) { obj(o, "disk")["size"] = 36700161 }, "positive multiple"},
		"negative disk":          {func(o object) { obj(o, "disk")["size"] = -512 }, "positive multiple"},
		"partition off the disk": {func(o object) { obj(o, "disk")["partitionSize"] = 1 << 40 }, "is not on a disk"},
		"no GUID":                {func(o object) { obj(o, "disk")["guid"] = "00000000-0000-0000-0000-000000000000" }, "GUID is missing"},
		"cluster size":           {func(o object) { obj(o, "disk")["clusterSize"] = 3000 }, "power of two"},
		"data outside":           {func(o object) { obj(o, "disk")["firstDataOffset"] = 5 }, "is not in the partition"},
		"local time":             {func(o object) { obj(o, "disk")["time"] = "2023-09-04T14:59:10+02:00" }, "UTC"},
		"gap":                    {func(o object) { obj(o, "extents", 1)["offset"] = 17409 }, "the one before it ends at"},
		"overlap":                {func(o object) { obj(o, "extents", 1)["offset"] = 17407 }, "the one before it ends at"},
		"doubled extent":         {func(o object) { o["extents"] = append([]any{obj(o, "extents", 0)}, o["extents"].([]any)...) }, "the one before it ends at"},
		"beyond the disk":        {func(o object) { last(o, "extents")["length"] = 1 << 62 }, "bytes of the disk left"},
		"empty extent":           {func(o object) { obj(o, "extents", 0)["length"] = 0 }, "has length 0"},
		"short of the disk":      {func(o object) { l := o["extents"].([]any); o["extents"] = l[:len(l)-1] }, "end at"},
		"too many digests":       {func(o object) { obj(o, "extents", 0)["sha256"] = []string{zeros, zeros} }, "2 digests for 1 pieces"},
		"unknown origin":         {func(o object) { obj(o, "extents", 0)["from"] = "heaven" }, "only a variant's"},
		"given data of its own":  {func(o object) { obj(o, "extents", 0)["data"] = "AAAA" }, "not said to be given"},
		"given without data":     {func(o object) { obj(o, "extents", 0)["from"] = "given" }, "gives 0 bytes"},
		"path upwards":           {func(o object) { obj(o, "files", 0)["path"] = "../etc/passwd" }, "not a path"},
		"absolute path":          {func(o object) { obj(o, "files", 0)["path"] = "/etc/passwd" }, "not a path"},
		"file twice":             {func(o object) { obj(o, "files", 1)["path"] = strings.ToLower(obj(o, "files", 0)["path"].(string)) }, "twice"},
		"file as directory":      {func(o object) { o["directories"] = append(o["directories"].([]any), obj(o, "files", 0)["path"]) }, "twice"},
		"unknown role":           {func(o object) { obj(o, "files", 0)["role"] = "king" }, "role"},
		"negative file":          {func(o object) { obj(o, "files", 0)["size"] = -1 }, "do not lie between"},
		"file off the volume":    {func(o object) { last(o, "files")["size"] = 1 << 62 }, "do not lie between"},
		"files overlap":          {func(o object) { obj(o, "files", 1)["offset"] = obj(o, "files", 0)["offset"] }, "do not lie between"},
		"file on zeros":          {func(o object) { last(o, "files")["size"] = 1 << 20 }, "which is zeros"},
		"empty file somewhere":   {func(o object) { obj(o, "files", 0)["size"] = 0 }, "is empty, but"},
		"file is not its piece":  {func(o object) { obj(o, "files", 0)["sha256"] = zeros }, "but its extent is"},
		"extent is not its file": {func(o object) { obj(o, "extents", dataExtent(o))["sha256"] = []string{zeros} }, "but its extent is"},
		"no kickstart":           {func(o object) { last(o, "files")["role"] = "payload" }, "0 files have its role"},
		"two kickstarts":         {func(o object) { obj(o, "files", 0)["role"] = "kickstart" }, "2 files have its role"},
		"large kickstart":        {func(o object) { obj(o, "kickstart")["size"] = 1<<20 + 1 }, "positive number up to"},
		"unnamed module":         {func(o object) { obj(o, "files", 0)["role"] = "module" }, "is missing"},
		"module without file": {func(o object) {
			o["modules"] = append(o["modules"].([]any), object{"path": "X.TGZ", "size": 1, "sha256": zeros})
		}, "2 are named, 1 files"},
		"other module": {func(o object) { obj(o, "modules", 0)["sha256"] = zeros }, "is not the file of that name"},
		"no modules":   {func(o object) { o["modules"] = []any{} }, "not from 1"},
		"VIB's file":   {func(o object) { obj(o, "vibs", 0)["files"] = []string{"NOWHERE.V00"} }, "not among the files"},
		"planner":      {func(o object) { obj(o, "planner")["version"] = 0 }, "planner"},
		"base of a whole image's": {func(o object) {
			o["base"] = object{"manifest": "sha512:00", "disk": "sha256:" + zeros, "diskSize": 1}
		}, "base: manifest"},
		"base too small": {func(o object) {
			o["base"] = object{"manifest": "sha256:" + zeros, "disk": "sha256:" + zeros, "diskSize": 512}
		}, "of a disk layer of 512 bytes"},
		"wrong type":      {func(o object) { o["files"] = "many" }, "cannot unmarshal"},
		"fraction":        {func(o object) { obj(o, "disk")["size"] = 0.5 }, "cannot unmarshal"},
		"number too long": {func(o object) { obj(o, "disk")["size"] = json.Number("99999999999999999999") }, "cannot unmarshal"},
	} {
		t.Run(name, func(t *testing.T) {
			o := object{}
			dec := json.NewDecoder(bytes.NewReader(good))
			dec.UseNumber()
			if err := dec.Decode(&o); err != nil {
				t.Fatal(err)
			}
			c.change(o)
			b, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			_, err = artifact.ParseConfig(b)
			var format *artifact.FormatError
			if !errors.As(err, &format) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("ParseConfig() = %v, want %q", err, c.want)
			}
		})
	}
	if _, err := artifact.ParseConfig(bytes.Replace(good, []byte(`"version":"1.0"`), []byte(`"version":"1.7","more":[]`), 1)); err != nil {
		t.Errorf("a later minor version: %v", err)
	}
	if _, err := artifact.ParseConfig([]byte(`{"version":"2.0","files":{}}`)); !errors.Is(err, artifact.ErrVersion) {
		t.Errorf("a later major version with other fields: %v", err)
	}
}

// What is no config costs neither time nor memory.
func TestConfigsThatAreBombs(t *testing.T) {
	for name, text := range map[string]string{
		"many files":    `{"version":"1.0","files":[{}` + strings.Repeat(",{}", 1<<20) + `]}`,
		"many digests":  `{"version":"1.0","extents":[{"sha256":[""` + strings.Repeat(`,""`, 1<<20) + `]}]}`,
		"deep":          `{"version":` + strings.Repeat("[", 2<<20) + strings.Repeat("]", 2<<20-100) + `}`,
		"name twice":    `{"version":"1.0","Version":"1.1"}`,
		"more after it": `{"version":"1.0"}{}`,
		"cut short":     `{"version":"1.0","files":[`,
		"no object":     `[]`,
		"empty":         ``,
		"long":          strings.Repeat(" ", artifact.MaxConfig+1),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			_, err := artifact.ParseConfig([]byte(text))
			runtime.ReadMemStats(&after)
			var format *artifact.FormatError
			if !errors.As(err, &format) {
				t.Errorf("ParseConfig() = %v", err)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 128<<20 {
				t.Errorf("%d MiB were allocated", got>>20)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestConfigSurvivesAsBytes(t *testing.T) {
	b := encoded(t)
	c, err := artifact.ParseConfig(b)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.Encode(); err != nil || !bytes.Equal(again, b) {
		t.Errorf("a config that is read and written differs (%v)", err)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"version":"1.0"}`))
	f.Add([]byte(`{"version":"2.0"}`))
	f.Add(tiny())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := artifact.ParseConfig(b)
		if err != nil {
			var format *artifact.FormatError
			if !errors.As(err, &format) {
				t.Errorf("%v is no *FormatError", err)
			}
			return
		}
		at := int64(0)
		for _, p := range c.Pieces() {
			if p.Offset < at || p.Length <= 0 || p.Length > artifact.PieceSize || p.Offset+p.Length > c.Disk.Size || p.File >= len(c.Files) {
				t.Fatalf("piece %+v after %d on a disk of %d bytes", p, at, c.Disk.Size)
			}
			if p.File >= 0 && (p.Offset < c.Files[p.File].Offset || p.Offset+p.Length > c.Files[p.File].Offset+c.Files[p.File].Size) {
				t.Fatalf("piece %+v is not in %+v", p, c.Files[p.File])
			}
			at = p.Offset + p.Length
		}
		if _, err := c.BlobPlan(bytes.NewReader(nil)); err != nil {
			t.Errorf("a sound config gives no plan: %v", err)
		}
		if _, err := c.Encode(); err != nil {
			t.Errorf("a sound config cannot be written: %v", err)
		}
	})
}

// tiny is the smallest config there is: for the fuzzer, which can make little
// of one of 40 KiB.
func tiny() []byte {
	hash := func(n byte) string { return fmt.Sprintf("%064x", n) }
	return fmt.Appendf(nil, `{"version":"1.0","esxi":{"version":"8.0.2","build":"1","architecture":"amd64"},`+
		`"iso":{"name":"a.iso","size":1,"sha256":"%s","volumeID":"A"},`+
		`"disk":{"size":8192,"sectorSize":512,"sha256":"%s","guid":"0b0c0d0e-1111-8222-8333-444455556666","partitionGUID":"9b0c0d0e-1111-8222-8333-444455556666",`+
		`"partitionName":"p","partitionOffset":512,"partitionSize":7168,"volumeID":1,"label":"L","time":"2023-09-04T14:59:10Z","clusterSize":512,"firstDataOffset":1024},`+
		`"base":{"manifest":"sha256:%s","disk":"sha256:%s","diskSize":8192},`+
		`"extents":[{"offset":0,"length":512,"sha256":["%s"]},{"offset":512,"length":1,"sha256":["%s"],"from":"given","data":"AA=="},{"offset":513,"length":511},`+
		`{"offset":1024,"length":512,"sha256":["%s"]},{"offset":1536,"length":512,"sha256":["%s"],"from":"kickstart"},{"offset":2048,"length":6144}],`+
		`"directories":["D"],"files":[{"path":"D/M","size":512,"offset":1024,"sha256":"%s","role":"module"},{"path":"K","size":512,"offset":1536,"sha256":"%s","role":"kickstart"}],`+
		`"planner":{"name":"x","version":1},"kickstart":{"size":1,"sha256":"%s"},"modules":[{"path":"D/M","size":512,"sha256":"%s"}],"kernelopts":["a"],`+
		`"vibs":[{"name":"v","version":"1","vendor":"w","acceptance":"partner","files":["D/M"]}],"builder":{"version":"v1"}}`,
		hash(1), hash(2), hash(3), hash(4), hash(5), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		hash(7), hash(8), hash(7), hash(8), hash(9), hash(7))
}

func TestTinyConfigIsSound(t *testing.T) {
	c, err := artifact.ParseConfig(tiny())
	if err != nil {
		t.Fatal(err)
	}
	if p := c.Pieces(); len(p) != 4 || p[2].File != 0 || p[3].File != 1 || p[1].From != artifact.FromGiven || p[0].File != -1 {
		t.Errorf("pieces %+v", p)
	}
}
