#!/usr/bin/env bash
# Builds health-checks from its Go module into bin/ beside this script, once: it is built again only when something in this
# folder changes.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
# Written last and removed first, so that a build that was cut short is taken up again.
stamp=$(cat build.sh ./*.go go.{mod,sum} | cksum)
[[ -f bin/.stamp && $(<bin/.stamp) == "$stamp" && -x bin/health-checks ]] && exit 0

command -v go >/dev/null || {
  echo "The tests run the health checks of Argo CD and Flux, whose evaluators are built here by Go 1.26 or later: install Go." >&2
  exit 1
}
# The module stands by itself, also where the clone lies in someone's Go workspace.
export GOWORK=off CGO_ENABLED=0

echo "Building the health check evaluators of Argo CD and Flux for the tests: about a minute on two cores, this once"
mkdir -p bin
rm -f bin/.stamp
go build -trimpath -buildvcs=false -ldflags "-s -w" -o bin/health-checks.new .
# In one step: what is called by that name is a whole program.
mv bin/health-checks.new bin/health-checks
echo "$stamp" >bin/.stamp
