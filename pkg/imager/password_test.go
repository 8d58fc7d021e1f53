package imager

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// The first two are of https://www.akkadia.org/drepper/SHA-crypt.txt, those of
// 5000 rounds; the others of "openssl passwd -6".
func TestSHA512Crypt(t *testing.T) {
	for _, c := range []struct{ password, want string }{
		{"Hello world!", "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"},
		{"This is just a test", "$6$toolongsaltstrin$lQ8jolhgVRVhY4b5pZKaysCLi0QBxGoNeKQzQ3glMhwllF7oGDZxUhx1yxdYcz/e1JSbq3y6JMxxl8audkUEm0"},
		{"pässwörd", "$6$short$8PxE01Domb6dcxeQtCxLibybOXj32CQeToNgt9Pwl9wf/GmpnVKsiWm8Srr87eCmFRgpWY3tWNsL1YIVCAfz31"},
		{strings.Repeat("a", 64), "$6$0123456789./AZaz$5ddS2ryi2RwW1toQI/6ZMm9eKncBouSIiVTd3yY3pEWrzbaC3L1EpKfpDrKP1NWqGppB0IAlAN0m/Lv5ROmiM1"},
		{strings.Repeat("b", 200), "$6$x$rFkVhVy7v.fT8TtXEMH6PCa.ndyC3sOwkxJUW5PKPuRQNeqtwOxXEJb9NH5DosUz9tRnebUbka/SRHxh13lub."},
	} {
		salt, _, _ := strings.Cut(c.want[3:], "$")
		if got := string(hashPassword([]byte(c.password), []byte(salt))); got != c.want {
			t.Errorf("%q: %s\nwant %s", c.password, got, c.want)
		}
	}
}

func TestRootPassword(t *testing.T) {
	hash := "$6$salt$" + strings.Repeat("a", 86)
	for file, want := range map[string]string{hash: hash, hash + "\n": hash, hash + "\r\n": hash} {
		if got, err := RootPassword([]byte(file)); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", file, string(got), err)
		}
	}
	for _, file := range []string{"hunter2", "hunter2\n", "hunter2\r\n", "pässwörd ", "$6$", "$HOME$"} {
		first, err := RootPassword([]byte(file))
		if err != nil || first.Check() != nil {
			t.Fatalf("%q: %v", file, err)
		}
		salt, _, _ := strings.Cut(string(first)[3:], "$")
		if len(salt) != saltSize || hashPassword([]byte(strings.TrimRight(file, "\r\n")), []byte(salt)) != first {
			t.Errorf("%q: the hash %q is not of the password", file, string(first))
		}
		if again, err := RootPassword([]byte(file)); err != nil || again == first {
			t.Errorf("%q: the salt is the same twice, %v", file, err)
		}
	}
	for file, want := range map[string]string{
		"": "no password", "\n": "no password", "a\nb\n": "more than one line", "Canary\x07": "control character", "Canary\xff": "UTF-8",
		strings.Repeat("Canary", 50):       "more than 255",
		"$1$Canary$abcdefghijklmnopqrstuv": "takes", "$5$Canary$x": "takes", "$6$rounds=5000$Canary$" + strings.Repeat("a", 86): "takes",
		"$2b$10$Canary": "takes", "$y$j9T$Canary": "takes", "$6$saltsaltsaltsalts$" + strings.Repeat("a", 86): "takes",
	} {
		_, err := RootPassword([]byte(file))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "Canary") {
			t.Errorf("%q: %v, want %q", file, err, want)
		}
		if want == "takes" && !errors.Is(err, ErrHash) {
			t.Errorf("%q: %v is not ErrHash", file, err)
		}
	}
}

func TestHashesAreNotShown(t *testing.T) {
	options := HostOptions{RootHash: PasswordHash("$6$Canary$" + strings.Repeat("a", 86))}
	for _, shown := range []string{
		fmt.Sprint(options), fmt.Sprintf("%+v", options), fmt.Sprintf("%#v", options), fmt.Sprintf("%s %v %q", options.RootHash, options.RootHash, options.RootHash),
		fmt.Sprintf("%+v", HostSettings{HostOptions: options}), fmt.Sprintf("%+v", &Image{Host: options}),
	} {
		if strings.Contains(shown, "Canary") {
			t.Errorf("%s", shown)
		}
	}
}
