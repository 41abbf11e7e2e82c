#!/usr/bin/env bash
# Builds the program of a Go module into bin/ in the module's directory. It rebuilds only if a source file of the module or
# this script changes. Arguments: directory, program name, why it is needed, and how long the build takes.
set -euo pipefail

script=$(realpath "${BASH_SOURCE[0]}")
folder=$1 program=$2 need=$3 time=$4
cd "$folder"
# Removed first and written last, so that an interrupted build is repeated.
stamp=$(cat "$script" ./*.go go.{mod,sum} | cksum)
[[ -f bin/.stamp && $(<bin/.stamp) == "$stamp" && -x bin/$program ]] && exit 0

command -v go >/dev/null || {
  echo "$need. Install Go 1.26 or later to build the program." >&2
  exit 1
}
# Independent of any Go workspace that contains this clone.
export GOWORK=off CGO_ENABLED=0

echo "$need. Building the program, once: $time on two cores"
mkdir -p bin
rm -f bin/.stamp
go build -trimpath -buildvcs=false -ldflags "-s -w" -o "bin/$program.new" .
# Renamed at the end, so that the name never refers to an incomplete file.
mv "bin/$program.new" "bin/$program"
echo "$stamp" >bin/.stamp
