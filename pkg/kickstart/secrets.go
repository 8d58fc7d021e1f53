package kickstart

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

var (
	// rootpwText is the command at the head of a line or of a script's string.
	rootpwText = regexp.MustCompile(`(^[ \t]*|['"]|\\n)rootpw[ \t]+(\S.*)$`)
	urlText    = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s'"<>]{3,400}`)
	privateKey = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY-----`)
	// assignment is a name that ends in a word for a secret, and a text.
	assignment = regexp.MustCompile(`(?i)\b[a-z0-9_.-]*(?:passwd|password|passphrase|secret|api_?key|access_?token|auth_?token)['"]?\s*[:=]\s*['"]?([^\s'"]{4,})`)
	licenseKey = regexp.MustCompile(`\b[A-Z0-9]{5}(?:-[A-Z0-9]{5}){4}\b`)
)

// Secrets finds what must not be published with an image, in commands and
// scripts alike. An Error is surely a secret: a plain-text root password, a
// password in a URL, a private key. A Warning looks like one. A Note is a
// hashed root password, which can be tried out offline. No finding repeats
// what it found. It takes any bytes; what is beyond MaxSize is not looked at,
// and is an Error.
func Secrets(text []byte) []Finding {
	l := &linter{}
	if len(text) > MaxSize {
		l.add(0, Error, "size", "the kickstart is too large to be searched for secrets", "what wasn't looked at can't be vouched for", "Make it smaller")
		text = text[:MaxSize]
	}
	n := 0
	for line := range strings.Lines(normalize(text)) {
		n++
		if len(line) > MaxLine {
			l.add(n, Error, "size", "the line is too long to be searched for secrets", "what wasn't looked at can't be vouched for", "Break it up")
			continue
		}
		l.secretsIn(n, line)
	}
	return l.findings
}

func (l *linter) secretsIn(n int, line string) {
	const reason = "everybody who can pull the image can read it, and the installer writes scripts to its log"
	l.rootpwIn(n, line, reason)
	for _, u := range urlText.FindAllString(line, -1) {
		if hasPassword(u) {
			l.add(n, Error, "secret-url", "a URL with a password", reason, "Fetch it without one, or from the host's metadata")
			break
		}
	}
	if privateKey.MatchString(line) {
		l.add(n, Error, "secret-key", "a private key", reason, "Make keys on the host")
	}
	if licenseKey.MatchString(line) {
		l.add(n, Warning, "secret-license", "a license key", reason, "Assign licenses from vCenter")
	}
	if m := assignment.FindStringSubmatch(line); len(m) == 2 && !variable(m[1]) {
		l.add(n, Warning, "secret-assignment", "this looks like a password or a token", reason, "Take it from the host's metadata")
	}
}

// rootpwIn finds rootpw wherever it stands: scripts write kickstart lines too.
func (l *linter) rootpwIn(n int, line, reason string) {
	m := rootpwText.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
	if m == nil || strings.HasPrefix(strings.TrimSpace(line), "#") {
		return
	}
	before, text := m[1], m[2]
	if strings.HasPrefix(text, before) && (before == `'` || before == `"`) {
		return // the string ends here: "rootpw " + x
	}
	w, err := split(text)
	list := w.list
	if err != nil {
		// Inside a quotation of the script's, such as echo 'rootpw x'.
		list = strings.Fields(strings.Trim(text, `'"`))
	}
	crypted := slices.Contains(list, "--iscrypted")
	list = slices.DeleteFunc(slices.Clone(list), func(s string) bool { return strings.HasPrefix(s, "--iscrypted") })
	switch {
	case len(list) == 0 || variable(strings.Trim(list[0], `'"`)):
	case crypted && strings.HasPrefix(strings.Trim(list[0], `'"\`), "$"):
		l.add(n, Note, "secret-hash", "a hashed root password", "it can be tried out by everybody who can pull the image", "Use one for each host, from its metadata")
	default:
		l.add(n, Error, "secret-rootpw", "the root password in plain text", reason, "Write \"%include /tmp/rootpw\", or rootpw --iscrypted with a hash")
	}
}

// hasPassword also counts what can't be parsed as a URL but has user:password@.
func hasPassword(text string) bool {
	if u, err := url.Parse(text); err == nil {
		if u.User == nil {
			return false
		}
		p, ok := u.User.Password()
		return ok && p != "" && !variable(p)
	}
	_, rest, _ := strings.Cut(text, "://")
	authority, _, _ := strings.Cut(rest, "/")
	i := strings.LastIndexByte(authority, '@')
	return i > 0 && strings.Contains(authority[:i], ":")
}

// variable tells whether a text is filled in later: a shell variable, a format
// of printf's or Python's, a placeholder, an expression.
func variable(s string) bool {
	if strings.HasPrefix(s, "$") {
		// $6$… is a hash, $NAME, ${NAME} and $(command) are not texts.
		return len(s) > 1 && (s[1] == '{' || s[1] == '(' || s[1] == '_' || s[1] >= 'A' && s[1] <= 'Z' || s[1] >= 'a' && s[1] <= 'z' && !anyHash.MatchString(s))
	}
	return strings.HasPrefix(s, "%s") || strings.HasPrefix(s, "{") || strings.HasPrefix(s, "<") ||
		strings.ContainsAny(s, "()[]")
}
