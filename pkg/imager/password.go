package imager

import (
	"bytes"
	"crypto/rand"
	"crypto/sha512"
	"errors"
	"fmt"
	"regexp"
	"unicode"
	"unicode/utf8"

	"github.com/go-crypt/x/crypt"
)

const (
	// maxPassword is in characters, as the host scripts have it.
	maxPassword = 255
	// saltSize is the longest salt that sha512-crypt takes, and the installer.
	saltSize = 16
	// cryptRounds is sha512-crypt's default, the only number that needs no
	// "rounds=" in the hash; the installer refuses one with it.
	cryptRounds = 5000
)

// PasswordHash is a crypt(3) hash of sha512-crypt: "$6$", a salt of 1 to 16
// characters, "$", 86 characters. It is a secret, and not shown by fmt.
type PasswordHash string

// String hides the hash.
func (PasswordHash) String() string { return "(hash)" }

// GoString hides the hash.
func (PasswordHash) GoString() string { return "(hash)" }

var (
	// takenHash is what the installer takes behind rootpw --iscrypted.
	takenHash = regexp.MustCompile(`^\$6\$[A-Za-z0-9./]{1,16}\$[A-Za-z0-9./]{86}$`)
	// anyHash is what is meant as a hash of crypt(3): hashed once more, it
	// would let nobody in.
	anyHash = regexp.MustCompile(`^\$(1|2|2[abxy]|5|6|7|y|gy)(\$.+){2}$`)
)

// ErrHash says that a hash is of a kind that the installer does not take.
var ErrHash = errors.New("the hash of the root password is not one that the installer takes: " +
	"only $6$ (sha512-crypt) without rounds= and with a salt of at most 16 characters")

// Check returns ErrHash for a hash that the installer does not take.
func (h PasswordHash) Check() error {
	if !takenHash.MatchString(string(h)) {
		return ErrHash
	}
	return nil
}

// RootPassword makes the hash of what a password file holds: a password, or a
// hash, and perhaps a line end. The salt of a password is random: the same
// password gives another hash, and so another image, each time. No error shows
// what the file holds.
func RootPassword(file []byte) (PasswordHash, error) {
	text := bytes.TrimSuffix(bytes.TrimSuffix(file, []byte("\n")), []byte("\r"))
	switch {
	case len(text) == 0:
		return "", errors.New("holds no password")
	case !utf8.Valid(text):
		return "", errors.New("is not UTF-8")
	case utf8.RuneCount(text) > maxPassword:
		return "", fmt.Errorf("holds more than %d characters", maxPassword)
	case bytes.ContainsAny(text, "\r\n"):
		return "", errors.New("has more than one line")
	case bytes.ContainsFunc(text, unicode.IsControl):
		return "", errors.New("holds a control character")
	case anyHash.Match(text):
		h := PasswordHash(text)
		return h, h.Check()
	}
	return hashPassword(text, randomSalt()), nil
}

// hashPassword is sha512-crypt (https://www.akkadia.org/drepper/SHA-crypt.txt)
// with the default number of rounds.
func hashPassword(password, salt []byte) PasswordHash {
	sum := crypt.KeySHACrypt(sha512.New, password, salt, cryptRounds)
	return PasswordHash("$6$" + string(salt) + "$" + string(sum))
}

// randomSalt has 96 random bits.
func randomSalt() []byte {
	const letters = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	salt := make([]byte, saltSize)
	// It never fails: a system without randomness ends the program.
	_, _ = rand.Read(salt)
	for i, b := range salt {
		salt[i] = letters[b%64]
	}
	return salt
}
