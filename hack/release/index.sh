#!/usr/bin/env bash
# Joins the images of all architectures in target/dist to one image, as an OCI layout in target/image/index, and writes the checksums
# of all files in target/dist. The digests are final: hack/release/publish.sh pushes the layout unchanged.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

hack/image/packages.sh jq skopeo
version=$(hack/release/version.sh)
targets=${CARGO_TARGET_DIR:-target}
dist=$targets/dist layout=$targets/image/index
archives=("$dist"/approval-operator-"$version"-linux-*.image.tar)
[[ -e ${archives[0]} ]] || {
  echo "There are no images of version $version in $dist: run \`make release-binaries\` on each architecture." >&2
  exit 1
}

blob() { # digest
  echo "$layout/blobs/sha256/${1#sha256:}"
}
rm -rf "$layout"
for archive in "${archives[@]}"; do
  architecture=${archive##*-linux-} architecture=${architecture%.image.tar}
  skopeo copy --quiet "docker-archive:$archive" "oci:$layout:$architecture"
done

# The configuration of an image says what it runs on. A name that differs from it would give a cluster the wrong binary.
jq --compact-output '.manifests[]' "$layout/index.json" >"$layout/manifests"
while read -r manifest; do
  name=$(jq --raw-output '.annotations["org.opencontainers.image.ref.name"]' <<<"$manifest")
  config=$(jq --raw-output .config.digest "$(blob "$(jq --raw-output .digest <<<"$manifest")")")
  platform=$(jq --compact-output '{architecture, os}' "$(blob "$config")")
  [[ $platform == "{\"architecture\":\"$name\",\"os\":\"linux\"}" ]] || {
    echo "FAILED: the image for $name is for $platform." >&2
    exit 1
  }
  jq --compact-output --argjson platform "$platform" '{mediaType, digest, size, $platform}' <<<"$manifest"
done <"$layout/manifests" | jq --compact-output --slurp \
  '{schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: sort_by(.platform.architecture)}' >"$layout/image"
rm "$layout/manifests"

digest=sha256:$(sha256sum <"$layout/image" | cut --delimiter " " --fields 1)
jq --null-input --compact-output --arg digest "$digest" --argjson size "$(stat --format %s "$layout/image")" --arg version "$version" '{
  schemaVersion: 2,
  manifests: [{
    mediaType: "application/vnd.oci.image.index.v1+json", $digest, $size,
    annotations: {"org.opencontainers.image.ref.name": $version}
  }]
}' >"$layout/index.json"
mv "$layout/image" "$(blob "$digest")"
jq --raw-output '.manifests[] | "ok   \(.platform.os)/\(.platform.architecture) \(.digest)"' "$(blob "$digest")"
echo "ok   the image is $digest"

sums=$(cd "$dist" && rm -f SHA256SUMS && sha256sum -- *)
echo "$sums" >"$dist/SHA256SUMS"
echo "ok   $dist/SHA256SUMS has $(wc -l <<<"$sums") files"
