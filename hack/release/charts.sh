#!/usr/bin/env bash
# Packages the charts in target/dist. With REGISTRY, the packages use the image in that registry by default, and the one in this
# repository stays without a registry.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
helm=$PWD/crates/test-control-plane/bin/helm

hack/release/check.sh
version=$(hack/release/version.sh)
dist=${CARGO_TARGET_DIR:-target}/dist
folder=$(mktemp --directory)
trap 'rm -rf "$folder"' EXIT
cp -r charts/* "$folder"
repository=${REGISTRY:+$REGISTRY/}approval-operator
sed -i "s|^  repository: approval-operator\$|  repository: $repository|" "$folder/approval-operator/values.yaml"

mkdir -p "$dist"
for chart in "$folder"/*; do
  "$helm" package "$chart" --destination "$dist" >/dev/null
  echo "ok   $dist/${chart##*/}-$version.tgz"
done
"$helm" template approval-operator "$dist/approval-operator-$version.tgz" | grep --quiet "image: \"$repository:$version\"" || {
  echo "FAILED: the packaged chart does not use the image $repository:$version." >&2
  exit 1
}
