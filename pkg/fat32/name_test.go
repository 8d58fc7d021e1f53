package fat32

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

func TestCheckName(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"BOOT.CFG", ""},
		{"b.b00", ""},
		{".hidden", ""},
		{" leading", ""},
		{"a+b,c;d=e[f].g", ""},
		{"Grüße 你好.txt", ""},
		{"\uFFFD", ""},
		{strings.Repeat("ä", 255), ""},
		{"console", ""},
		{"CO", ""},
		{"COM", ""},
		{"COM0", ""},
		{"COM10", ""},
		{"LPT.TXT", ""},
		{"NULL", ""},
		{"A.CON", ""},
		{strings.Repeat("ä", 256), "has 256 characters, a name at most 255"},
		{"", "is empty"},
		{".", "is no name"},
		{"..", "is no name"},
		{"...", "ends in a dot or a blank, which FAT drivers drop"},
		{"a.", "ends in a dot or a blank, which FAT drivers drop"},
		{"a ", "ends in a dot or a blank, which FAT drivers drop"},
		{"a\xFF", "is not UTF-8"},
		{"\xED\xA0\x80", "is not UTF-8"}, // half of a surrogate pair
		{"a\x00", `has the character '\x00', which FAT does not allow`},
		{"a\n", `has the character '\n', which FAT does not allow`},
		{"a\x7F", `has the character '\x7f', which FAT does not allow`},
		{`a\b`, `has the character '\\', which FAT does not allow`},
		{"a:b", `has the character ':', which FAT does not allow`},
		{"what?", `has the character '?', which FAT does not allow`},
		{"😀", `has the character '😀', which is not in UCS-2`},
		{"\uFFFF", `has the character '\uffff', which is not in UCS-2`},
		{"CON", "is the name of a device"},
		{"nul.txt", "is the name of a device"},
		{"Aux.tar.gz", "is the name of a device"},
		{"prn .txt", "is the name of a device"},
		{"com1", "is the name of a device"},
		{"LPT9.X", "is the name of a device"},
		{"com²", "is the name of a device"},
		{"CLOCK$", "is the name of a device"},
		{"conin$", "is the name of a device"},
	} {
		if got := checkName(tt.name); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.name, got, tt.want)
		}
	}
	for _, c := range `"*/:<>?\|` {
		if checkName("a"+string(c)+"b") == "" {
			t.Errorf("%q is accepted", c)
		}
	}
}

func TestAliases(t *testing.T) {
	for _, tt := range []struct {
		names []string // of files
		want  []string // aliases; "-" in front: with a long name
	}{
		{[]string{"BOOT.CFG", "README", "A-B_C~1.(1)"}, []string{"BOOT.CFG", "README", "A-B_C~1.(1)"}},
		{[]string{"b.b00", "B.v00", "jumpstrt.gz", "lower"}, []string{"-B.B00", "-B.V00", "-JUMPSTRT.GZ", "-LOWER"}},
		{[]string{"LONGERNAME.TXT", "A.HTML"}, []string{"-LONGER~1.TXT", "-A~1.HTM"}},
		{[]string{"long name 1.txt", "long name 2.txt"}, []string{"-LONGNA~1.TXT", "-LONGNA~2.TXT"}},
		{[]string{"a b", "A.B.C", ".profile", ".a.b", "+x", "Ä.ö", "x.tar.gz"}, []string{"-AB~1", "-A~1.C", "-PROFIL~1", "-A~1.B", "-_X~1", "-_~1._", "-X~1.GZ"}},
		{[]string{"~", "a~1", "a  ~1"}, []string{"~", "-A~1", "-A~1~1"}},
		// An alias is never another's name, whichever comes first.
		{[]string{"long name.txt", "LONGNA~1.TXT"}, []string{"-LONGNA~2.TXT", "LONGNA~1.TXT"}},
		{[]string{"longna~1.txt", "long name.txt"}, []string{"-LONGNA~1.TXT", "-LONGNA~2.TXT"}},
		{[]string{"abcdef g", "abcdefgh1", "ABCDEF~2"}, []string{"-ABCDEF~1", "-ABCDEF~3", "ABCDEF~2"}},
		{[]string{"ſ~1", "s +"}, []string{"-_~1~1", "-S_~1"}},
	} {
		var files []plan.File
		for _, n := range tt.names {
			files = append(files, plan.File{Path: n})
		}
		tree, err := newTree(files, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range tree.files {
			alias := f.alias.String()
			if f.long != nil {
				alias = "-" + alias
			}
			got = append(got, alias)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.names, got, tt.want)
		}
	}
}

// TestManyAliases has names that differ at their end, between others that look
// like aliases of them: all names of the directory must be different.
func TestManyAliases(t *testing.T) {
	var files []plan.File
	for i := range 12_000 {
		files = append(files, plan.File{Path: fmt.Sprintf("a very long name %d", i)})
		if i%100 == 0 {
			files = append(files, plan.File{Path: fmt.Sprintf("aver~%d", i)})
		}
	}
	tree, err := newTree(files, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	owner := map[string]*node{}
	for _, f := range tree.files {
		for _, name := range []string{fold(f.name()), f.alias.String()} {
			if other := owner[name]; other != nil && other != f {
				t.Fatalf("%q is %q and %q", name, other.path, f.path)
			}
			owner[name] = f
		}
	}
	if got := tree.files[len(tree.files)-1].alias.String(); len(got) != 8 {
		t.Errorf("the last alias is %q", got)
	}
}

func TestFold(t *testing.T) {
	for _, tt := range [][2]string{{"boot.cfg", "BOOT.CFG"}, {"é", "É"}, {"σ", "ς"}, {"K", "k"}} {
		if fold(tt[0]) != fold(tt[1]) {
			t.Errorf("%q and %q are different", tt[0], tt[1])
		}
	}
	if fold("a") == fold("b") || fold("e") == fold("é") {
		t.Error("different letters are the same")
	}
}

// TestChecksum uses a value that mtools wrote.
func TestChecksum(t *testing.T) {
	if got := shortName([]byte("LONGNA~1TXT")).checksum(); got != 0xF4 {
		t.Errorf("checksum %#02x", got)
	}
}
