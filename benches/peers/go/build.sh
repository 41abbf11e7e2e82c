#!/usr/bin/env bash
# Builds the Go contender of `make bench` into bin/ beside this script, once: it is built again only when something in this
# folder changes.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
# Written last and removed first, so that a build that was cut short is taken up again.
stamp=$(cat build.sh ./*.go go.{mod,sum} | cksum)
[[ -f bin/.stamp && $(<bin/.stamp) == "$stamp" && -x bin/controller ]] && exit 0

command -v go >/dev/null || {
  echo "The benchmark measures a controller in Go beside the operator, built here by Go 1.26 or later: install Go." >&2
  exit 1
}
# The module stands by itself, also where the clone lies in someone's Go workspace.
export GOWORK=off CGO_ENABLED=0

echo "Building the controller in Go for the benchmark: some 2 min on two cores, this once"
mkdir -p bin
rm -f bin/.stamp
go build -trimpath -buildvcs=false -ldflags "-s -w" -o bin/controller.new .
# In one step: what is called by that name is a whole program.
mv bin/controller.new bin/controller
echo "$stamp" >bin/.stamp
