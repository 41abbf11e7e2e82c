#!/usr/bin/env bash
# Builds helm-unittest and helm-docs from this Go module into bin/ beside this script, and copies the CRDs of the Prometheus
# Operator there from its own module. It rebuilds only if a version or this script changes.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
wanted=(helm-unittest helm-docs monitoring.coreos.com_{prometheusrules,servicemonitors}.yaml)
missing() {
  local file
  for file in "${wanted[@]}"; do
    [[ -e bin/$file ]] || echo "$file"
  done
}
# Removed first and written last, so that an interrupted build is repeated.
stamp=$(cat build.sh {.,prometheus-operator}/go.{mod,sum} | cksum)
[[ -f bin/.stamp && $(<bin/.stamp) == "$stamp" && -z $(missing) ]] && exit 0

command -v go >/dev/null || {
  echo "The chart checks need helm-unittest and helm-docs. Install Go 1.26 or later to build them." >&2
  exit 1
}
# Independent of any Go workspace that contains this clone.
export GOWORK=off CGO_ENABLED=0

echo "Building helm-unittest and helm-docs for the charts, once: about 80 seconds on two cores"
rm -rf bin
mkdir -p bin/new
# The tools that go.mod declares.
go build -trimpath -buildvcs=false -ldflags "-s -w" -o bin/new/ tool
module=github.com/prometheus-operator/prometheus-operator
go -C prometheus-operator mod download "$module"
source=$(go -C prometheus-operator list -m -f '{{.Dir}}' "$module")
cp "$source"/example/prometheus-operator-crd/monitoring.coreos.com_{prometheusrules,servicemonitors}.yaml bin/new/
# Renamed at the end, so that no name refers to an incomplete file.
mv bin/new/* bin/
rmdir bin/new
echo "$stamp" >bin/.stamp
