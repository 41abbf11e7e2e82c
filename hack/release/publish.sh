#!/usr/bin/env bash
# Pushes the image of hack/release/index.sh and the charts in target/dist to REGISTRY, and writes their digests to
# target/image/published, as lines NAME=DIGEST. A registry on this machine is used without TLS, as in Docker.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
helm=$PWD/crates/test-control-plane/bin/helm

registry=${REGISTRY:?the registry, such as registry.example.com/platform}
version=$(hack/release/version.sh)
targets=${CARGO_TARGET_DIR:-target}
layout=$targets/image/index published=$targets/image/published
skopeo_tls=() helm_tls=()
case $registry in
  localhost:* | 127.0.0.1:*) skopeo_tls=(--dest-tls-verify=false) helm_tls=(--plain-http) ;;
esac

skopeo copy --quiet --all --preserve-digests "${skopeo_tls[@]}" "oci:$layout:$version" "docker://$registry/approval-operator:$version"
digest=$(jq --raw-output '.manifests[0].digest' "$layout/index.json")
{
  echo "image=$digest"
  jq --raw-output '.manifests[] | "\(.platform.architecture)=\(.digest)"' "$layout/blobs/sha256/${digest#sha256:}"
} >"$published"

for chart in approval-operator approval-operator-crds; do
  output=$("$helm" push "${helm_tls[@]}" "$targets/dist/$chart-$version.tgz" "oci://$registry/charts" 2>&1) || {
    echo "$output" >&2
    exit 1
  }
  digest=$(sed -n 's/^Digest: //p' <<<"$output")
  echo "${chart/approval-operator/chart}=${digest:?no digest in: $output}" >>"$published"
done
sed 's/^/ok   /' "$published"
