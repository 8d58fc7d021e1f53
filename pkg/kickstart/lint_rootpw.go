package kickstart

import (
	"regexp"
	"strings"
)

// The hashes that the installer takes.
var (
	sha512crypt = regexp.MustCompile(`^\$6\$[A-Za-z0-9./]{1,16}\$[A-Za-z0-9./]{86}$`)
	md5crypt    = regexp.MustCompile(`^\$1\$[A-Za-z0-9./]{1,8}\$[A-Za-z0-9./]{22}$`)
	// anyHash is what other systems take for a hashed password.
	anyHash = regexp.MustCompile(`^\$(1|2[abxy]?|5|6|7|y|gy|argon2[a-z]*|scrypt)\$\S{20,}$`)
)

// desLength is the length of a hash of the oldest kind, which has no mark.
const desLength = 13

// checkRootpw looks at the password, and never repeats it.
func checkRootpw(l *linter, c command) {
	crypted := false
	password := ""
	for _, word := range c.args {
		name, _, _ := strings.Cut(word, "=")
		if name == "--iscrypted" {
			crypted = true
		} else {
			password = word
		}
	}
	switch {
	case password == "":
		return // reported as a missing argument
	case crypted:
		checkHash(l, c, password)
	case anyHash.MatchString(password):
		l.add(c.line, Error, "rootpw-hash", "the password looks like a hash, and --iscrypted is missing", "the installer takes the text of the hash for the password", "Write rootpw --iscrypted HASH")
	default:
		l.add(c.line, Warning, "rootpw-plain", "the root password is in plain text", "everybody who gets the image can read it; the installer also stops if it is too weak", "Write \"%include /tmp/rootpw\", or rootpw --iscrypted with the output of \"openssl passwd -6\"")
	}
}

func checkHash(l *linter, c command, hash string) {
	const cure = "Make one with \"openssl passwd -6\""
	switch {
	case sha512crypt.MatchString(hash):
	case strings.HasPrefix(hash, "$6$rounds="):
		l.add(c.line, Error, "rootpw-rounds", "the hash has rounds=", "the installer's check doesn't know it, and it stops here", cure+", which takes the default of 5000 rounds")
	case strings.HasPrefix(hash, "$6$"):
		l.add(c.line, Error, "rootpw-hash", "the hash is not a complete $6$ hash", "the installer wants $6$, a salt of 1 to 16 letters, digits, dots and slashes, $, and 86 more of them; it stops here", cure+", and quote it with '' ")
	case md5crypt.MatchString(hash):
		l.add(c.line, Warning, "rootpw-weak", "the hash is MD5", "such hashes are tried out by the billion a second", cure)
	case strings.HasPrefix(hash, "$"):
		l.add(c.line, Error, "rootpw-hash", "the hash is of a kind that the installer doesn't know", "it takes $6$ (SHA-512) and $1$ (MD5), and stops here", cure)
	case len(hash) == desLength:
		l.add(c.line, Warning, "rootpw-weak", "the hash is DES crypt", "it looks at 8 characters only, and is broken", cure)
	default:
		l.add(c.line, Error, "rootpw-hash", "--iscrypted is given, and the word is not a hash", "the installer stops here", cure)
	}
}
