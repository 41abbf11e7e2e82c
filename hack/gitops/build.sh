#!/usr/bin/env bash
# Builds the controllers of Flux and Argo CD from their Go modules, and copies their CRDs and Argo CD's default settings.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
helm_controller=v1.6.0
source ../go-build.sh
start_build "make gitops runs the controllers of Flux and Argo CD" "about 10 minutes" build.sh {flux,notification,argocd}/go.{mod,sum}
mkdir bin/new/{crds,argocd-config}
# The tools that each go.mod declares.
for module in flux notification; do
  go -C "$module" build -o ../bin/new/ tool
done
# One program for all parts: its name, or ARGOCD_BINARY_NAME, selects the part.
go -C argocd build -o ../bin/new/argocd tool

source_of() { # folder of a go.mod, module
  go -C "$1" list -m -f '{{.Dir}}' "$2"
}
argocd=$(source_of argocd github.com/argoproj/argo-cd/v3)
# Each controller requires the CRDs of all kinds that it watches.
cp "$(source_of flux github.com/fluxcd/source-controller)"/config/crd/bases/*.yaml \
  "$(source_of flux github.com/fluxcd/kustomize-controller)"/config/crd/bases/*.yaml \
  "$(source_of notification github.com/fluxcd/notification-controller)"/config/crd/bases/*.yaml \
  "$argocd"/manifests/crds/app*-crd.yaml bin/new/crds/
# The ConfigMaps and the Secret that every installation has.
cp "$argocd"/manifests/base/config/argocd-*.yaml bin/new/argocd-config/
# The examples have HelmReleases. Their controller does not run, so only this module is needed, and none that it requires.
helm_controller=$(go mod download -json "github.com/fluxcd/helm-controller@$helm_controller" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
cp "$helm_controller"/config/crd/bases/helm.toolkit.fluxcd.io_helmreleases.yaml bin/new/crds/
chmod -R u+w bin/new/{crds,argocd-config}
finish_build
