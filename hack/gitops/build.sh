#!/usr/bin/env bash
# Builds the controllers of Flux and Argo CD from their Go modules into bin/ beside this script, and copies their CRDs and
# Argo CD's default settings there. It rebuilds only if a version or this script changes.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
programs=(source-controller kustomize-controller argocd)
missing() {
  local file
  for file in "${programs[@]}" crds argocd-config; do
    [[ -e bin/$file ]] || echo "$file"
  done
}
# Removed first and written last, so that an interrupted build is repeated.
stamp=$(cat build.sh {flux,argocd}/go.{mod,sum} | cksum)
[[ -f bin/.stamp && $(<bin/.stamp) == "$stamp" && -z $(missing) ]] && exit 0

command -v go >/dev/null || {
  echo "make gitops runs the controllers of Flux and Argo CD. Install Go 1.26 or later to build them." >&2
  exit 1
}
# Independent of any Go workspace that contains this clone.
export GOWORK=off CGO_ENABLED=0

echo "Building the controllers of Flux and Argo CD, once: about 8 minutes on two cores"
rm -rf bin
mkdir -p bin/new/{crds,argocd-config}
# The tools that go.mod declares.
go -C flux build -trimpath -buildvcs=false -ldflags "-s -w" -o ../bin/new/ tool
# One program for all parts: its name, or ARGOCD_BINARY_NAME, selects the part.
go -C argocd build -trimpath -buildvcs=false -ldflags "-s -w" -o ../bin/new/argocd tool

source_of() { # folder of a go.mod, module
  go -C "$1" list -m -f '{{.Dir}}' "$2"
}
argocd=$(source_of argocd github.com/argoproj/argo-cd/v3)
# Each controller requires the CRDs of all kinds that it watches.
cp "$(source_of flux github.com/fluxcd/source-controller)"/config/crd/bases/*.yaml \
  "$(source_of flux github.com/fluxcd/kustomize-controller)"/config/crd/bases/*.yaml \
  "$argocd"/manifests/crds/app*-crd.yaml bin/new/crds/
# The ConfigMaps and the Secret that every installation has.
cp "$argocd"/manifests/base/config/argocd-*.yaml bin/new/argocd-config/
chmod -R u+w bin/new/{crds,argocd-config}
# Renamed at the end, so that no name refers to an incomplete file.
mv bin/new/* bin/
rmdir bin/new
echo "$stamp" >bin/.stamp
