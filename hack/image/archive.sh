#!/usr/bin/env bash
# Builds an image with buildah, without a registry, and saves it as an archive that docker, podman and containerd can load.
# The same files, arguments and SOURCE_DATE_EPOCH give the same archive, byte for byte.
set -euo pipefail

[[ $# -ge 3 && -n ${SOURCE_DATE_EPOCH:-} ]] || {
  echo "usage: SOURCE_DATE_EPOCH=SECONDS $0 NAME:TAG ARCHIVE ARGUMENT... (arguments of buildah build, with the context last)" >&2
  exit 2
}
name=$1 archive=$2
shift 2

# A temporary store, so that no images accumulate on this machine. vfs works on every file system.
store=$(mktemp --directory)
trap 'rm -rf "$store"' EXIT
buildah() {
  command buildah --root "$store/root" --runroot "$store/run" --storage-driver vfs "$@"
}

# Leaves neither buildah's version nor the build time in the image.
buildah build --quiet --isolation chroot --pull-never --identity-label=false --timestamp "$SOURCE_DATE_EPOCH" \
  --iidfile "$store/id" "$@" >/dev/null
mkdir -p "$(dirname "$archive")"
buildah push --quiet "$(<"$store/id")" "docker-archive:$store/archive.tar:$name"
# Renamed at the end, so that the name never refers to an incomplete archive.
mv "$store/archive.tar" "$archive.new"
mv "$archive.new" "$archive"
echo "Built $name: $archive, $(stat --format %s "$archive") bytes, image $(<"$store/id")"
