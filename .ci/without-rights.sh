#!/bin/sh
# For go test -exec: runs a test's program as a user without rights, with a home
# of its own, in the folder of the package.
set -eu
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
cp "$1" "$home/test"
shift
chown -R 65534:65534 "$home"
HOME=$home TMPDIR=$home setpriv --reuid=65534 --regid=65534 --clear-groups "$home/test" "$@"
