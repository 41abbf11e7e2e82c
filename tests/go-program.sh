#!/usr/bin/env bash
# Builds the program of a Go module into bin/ in the module's folder, once: it is built again only when something in the folder
# or this script changes. Arguments: the folder, the program's name, who needs it, and how long it takes.
set -euo pipefail

script=$(realpath "${BASH_SOURCE[0]}")
folder=$1 program=$2 need=$3 time=$4
cd "$folder"
# Written last and removed first, so that a build that was cut short is taken up again.
stamp=$(cat "$script" ./*.go go.{mod,sum} | cksum)
[[ -f bin/.stamp && $(<bin/.stamp) == "$stamp" && -x bin/$program ]] && exit 0

command -v go >/dev/null || {
  echo "$need, built here by Go 1.26 or later: install Go." >&2
  exit 1
}
# The module stands by itself, also where the clone lies in someone's Go workspace.
export GOWORK=off CGO_ENABLED=0

echo "$need, built here: $time on two cores, this once"
mkdir -p bin
rm -f bin/.stamp
go build -trimpath -buildvcs=false -ldflags "-s -w" -o "bin/$program.new" .
# In one step: what is called by that name is a whole program.
mv "bin/$program.new" "bin/$program"
echo "$stamp" >bin/.stamp
