#!/bin/sh
# All linters. Those written in Go are built at their pinned versions into
# $TOOLS, unless that very version is installed already.
set -eu
GO=${GO:-go} TOOLS=${TOOLS:-bin/tools}
: "${GOLANGCI_VERSION:?}" "${GOVULNCHECK_VERSION:?}"
mkdir -p "$TOOLS"
tools=$(cd "$TOOLS" && pwd)
PATH=$tools:$PATH:$($GO env GOPATH)/bin

# have PROGRAM VERSION: is that version installed?
have() {
	program=$(command -v "$1") || return 1
	$GO version -m "$program" 2>/dev/null | awk -v want="$2" '$1 == "mod" && $3 == want { ok = 1 } END { exit !ok }'
}

install() { # PROGRAM VERSION PACKAGE
	have "$1" "$2" && return
	echo "installing $1 $2 into $TOOLS"
	GOFLAGS='' GOBIN=$tools $GO install "$3@$2"
}

# vulnerabilities fails on a finding, and not where the database is out of reach.
vulnerabilities() {
	status=0
	found=$(govulncheck ./... 2>&1) || status=$?
	case $status:$found in
	0:*) echo "$found" ;;
	*"fetching vulnerabilities"* | *"vuln.go.dev"*[Ff]orbidden* | *"dial tcp"*)
		echo "govulncheck NOT RUN: its database is out of reach from here:"
		echo "$found" | tail -n 2
		;;
	*)
		echo "$found"
		return "$status"
		;;
	esac
}

echo "-- golangci-lint $GOLANGCI_VERSION"
install golangci-lint "$GOLANGCI_VERSION" github.com/golangci/golangci-lint/v2/cmd/golangci-lint
golangci-lint run --build-tags e2e ./...
GOOS=windows golangci-lint run ./...
GOOS=darwin golangci-lint run ./...

echo "-- shellcheck"
if command -v shellcheck >/dev/null 2>&1; then
	find . \( -name .git -o -name build -o -name bin \) -prune -o -type f -name '*.sh' -print >"$TOOLS/scripts"
	echo .ci/run >>"$TOOLS/scripts"
	grep -v '/netinit/files/' "$TOOLS/scripts" | xargs shellcheck
	# Snippets of a kickstart have no first line of their own; ESXi runs them in
	# busybox ash, to which dash is the nearest that shellcheck knows.
	grep '/netinit/files/' "$TOOLS/scripts" | xargs shellcheck -s dash
	echo "$(grep -c . "$TOOLS/scripts") scripts checked"
else
	echo "shellcheck is not installed (Debian: apt-get install shellcheck)" >&2
	exit 1
fi

echo "-- govulncheck $GOVULNCHECK_VERSION"
install govulncheck "$GOVULNCHECK_VERSION" golang.org/x/vuln/cmd/govulncheck
vulnerabilities
