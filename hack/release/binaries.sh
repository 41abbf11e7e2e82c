#!/usr/bin/env bash
# Collects in target/dist what a release offers for this machine's architecture: the binary of the image in an archive, the image and
# its SBOM. `make release-binaries` builds the image first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

case $(uname -m) in
  x86_64) architecture=amd64 ;;
  aarch64) architecture=arm64 ;;
  *)
    echo "There is no release for the architecture $(uname -m)." >&2
    exit 1
    ;;
esac
version=$(hack/release/version.sh)
targets=${CARGO_TARGET_DIR:-target}
image=$targets/image dist=$targets/dist
name=approval-operator-$version-linux-$architecture

folder=$(mktemp --directory)
trap 'rm -rf "$folder"' EXIT
install -m 755 "$image/build/out/approval-operator" "$folder/approval-operator"
install -m 644 LICENSE "$folder/LICENSE"
# A binary of another version, or one that needs libraries of this machine, fails here.
[[ $(env --ignore-environment "$folder/approval-operator" --version) == "approval-operator $version" ]] || {
  echo "FAILED: the binary in $image is not version $version." >&2
  exit 1
}

mkdir -p "$dist"
# Everything in the archive has the time of the commit, so that each build of the commit gives the same archive.
tar --create --directory "$folder" --sort=name --owner=0 --group=0 --numeric-owner \
  --mtime="@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}" LICENSE approval-operator | gzip --no-name --best >"$dist/$name.tar.gz"
install -m 644 "$image/approval-operator.tar" "$dist/$name.image.tar"
install -m 644 "$image/approval-operator.cdx.json" "$dist/$name.cdx.json"
(cd "$dist" && sha256sum "$name".*)
