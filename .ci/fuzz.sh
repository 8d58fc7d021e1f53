#!/bin/sh
# Runs every fuzz target of the module for $FUZZTIME each, $FUZZJOBS at a time.
set -eu
GO=${GO:-go} FUZZTIME=${FUZZTIME:-30s} FUZZJOBS=${FUZZJOBS:-1}
export GO FUZZTIME

# go test lists a package's targets, then "ok" and the package.
listed=$($GO test -list '^Fuzz' ./...) || { echo "$listed"; exit 1; }
list=$(echo "$listed" | awk '
	/^Fuzz/ { targets[n++] = $1 }
	$1 == "ok" { for (i = 0; i < n; i++) print $2, targets[i]; n = 0 }')
[ -n "$list" ] || { echo "no fuzz targets" >&2; exit 1; }
echo "$list" | awk -v t="$FUZZTIME" 'END { print NR " fuzz targets, " t " each" }'
workers=$(($(getconf _NPROCESSORS_ONLN) / FUZZJOBS))
[ "$workers" -ge 1 ] || workers=1
export workers

# shellcheck disable=SC2016 # expanded by the inner shell
echo "$list" | xargs -n 2 -P "$FUZZJOBS" sh -c '
	if out=$($GO test -run "^$2\$" -fuzz "^$2\$" -fuzztime "$FUZZTIME" -parallel "$workers" "$1" 2>&1); then
		echo "ok    $1 $2: $(echo "$out" | grep "^fuzz: elapsed" | tail -n 1)"
	else
		echo "$out"
		echo "FAIL $1 $2"
		exit 255
	fi' sh
