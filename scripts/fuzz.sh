#!/bin/sh
# Runs every fuzz target of the module for $FUZZTIME each, $FUZZJOBS at a time.
set -eu
GO=${GO:-go} FUZZTIME=${FUZZTIME:-30s} FUZZJOBS=${FUZZJOBS:-1}
export GO FUZZTIME

targets() {
	for package in $($GO list ./...); do
		$GO test -list '^Fuzz' "$package" | awk -v p="$package" '/^Fuzz/ { print p, $1 }'
	done
}

list=$(targets)
[ -n "$list" ] || { echo "no fuzz targets" >&2; exit 1; }
echo "$list" | awk 'END { print NR " fuzz targets" }'
workers=$(($(getconf _NPROCESSORS_ONLN) / FUZZJOBS))
[ "$workers" -ge 1 ] || workers=1
export workers

# shellcheck disable=SC2016 # expanded by the inner shell
echo "$list" | xargs -n 2 -P "$FUZZJOBS" sh -c '
	echo "-- $1 $2 for $FUZZTIME"
	if out=$($GO test -run "^$2\$" -fuzz "^$2\$" -fuzztime "$FUZZTIME" -parallel "$workers" "$1" 2>&1); then
		echo "$out" | tail -n 3
	else
		echo "$out"
		echo "FAIL $1 $2"
		exit 255
	fi' sh
