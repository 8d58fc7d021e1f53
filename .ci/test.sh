#!/bin/sh
# Unit tests; with the race detector where cgo has a C compiler to work with.
set -eu
GO=${GO:-go}

cc=$($GO env CC)
if [ "$($GO env CGO_ENABLED)" = 1 ] && command -v "${cc%% *}" >/dev/null 2>&1 &&
	CGO_ENABLED=1 $GO build -race -o /dev/null runtime/race >/dev/null 2>&1; then
	exec env CGO_ENABLED=1 "$GO" test -race ./...
fi
echo "no C compiler for the race detector: testing without it"
exec env CGO_ENABLED=0 "$GO" test ./...
