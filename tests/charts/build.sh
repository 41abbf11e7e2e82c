#!/usr/bin/env bash
# Builds helm-unittest and helm-docs, with which the charts are tested and documented, from this Go module into bin/ beside this
# script, and puts the Prometheus Operator's CRDs there, from its own: once, and again only when a version or this script changes.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
wanted=(helm-unittest helm-docs monitoring.coreos.com_{prometheusrules,servicemonitors}.yaml)
missing() {
  local file
  for file in "${wanted[@]}"; do
    [[ -e bin/$file ]] || echo "$file"
  done
}
# Written last and removed first, so that a build that was cut short is taken up again.
stamp=$(cat build.sh {.,prometheus-operator}/go.{mod,sum} | cksum)
[[ -f bin/.stamp && $(<bin/.stamp) == "$stamp" && -z $(missing) ]] && exit 0

command -v go >/dev/null || {
  echo "The charts are tested with helm-unittest and documented with helm-docs, which are built here by Go 1.26 or later: install Go." >&2
  exit 1
}
# The modules stand by themselves, also where the clone lies in someone's Go workspace.
export GOWORK=off CGO_ENABLED=0

echo "Building helm-unittest and helm-docs for the charts: some 80 seconds on two cores, this once"
rm -rf bin
mkdir -p bin/new
# The programs that the module names as its tools.
go build -trimpath -buildvcs=false -ldflags "-s -w" -o bin/new/ tool
module=github.com/prometheus-operator/prometheus-operator
go -C prometheus-operator mod download "$module"
cp "$(go -C prometheus-operator list -m -f '{{.Dir}}' "$module")"/example/prometheus-operator-crd/monitoring.coreos.com_{prometheusrules,servicemonitors}.yaml bin/new/
# In one step each: what is called by its name is whole.
mv bin/new/* bin/
rmdir bin/new
echo "$stamp" >bin/.stamp
