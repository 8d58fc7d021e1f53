#!/bin/sh
# release-files.sh DIR: the shell completions and man pages that go into
# archives and packages, from the program's own commands.
set -eu
GO=${GO:-go}
dir=$1
rm -rf "$dir"
mkdir -p "$dir/completions" "$dir/man"

for shell in bash fish; do
	$GO run ./cmd/esxi-img completion $shell >"$dir/completions/esxi-img.$shell"
done
$GO run ./cmd/esxi-img completion zsh >"$dir/completions/_esxi-img"
$GO run ./cmd/esxi-img completion powershell >"$dir/completions/esxi-img.ps1"
$GO run ./cmd/esxi-img/internal/gendocs -man "$dir/man"
gzip -9 -n "$dir"/man/*.1
