#!/usr/bin/env bash
# Builds an image with buildah, without asking a registry for anything, and saves it as an archive that docker, podman
# and containerd load. The same files, arguments and SOURCE_DATE_EPOCH give the same archive, byte for byte.
set -euo pipefail

[[ $# -ge 3 && -n ${SOURCE_DATE_EPOCH:-} ]] || {
  echo "usage: SOURCE_DATE_EPOCH=SECONDS $0 NAME:TAG ARCHIVE ARGUMENT..., which are buildah build's, its context last" >&2
  exit 2
}
name=$1 archive=$2
shift 2

# A store of its own, which goes with it: images that nobody asked for do not pile up on this machine. vfs needs nothing
# of its file system.
store=$(mktemp --directory)
trap 'rm -rf "$store"' EXIT
buildah() {
  command buildah --root "$store/root" --runroot "$store/run" --storage-driver vfs "$@"
}

# Neither buildah's version nor the time of the build is left in the image.
buildah build --quiet --isolation chroot --pull-never --identity-label=false --timestamp "$SOURCE_DATE_EPOCH" \
  --iidfile "$store/id" "$@" >/dev/null
mkdir -p "$(dirname "$archive")"
buildah push --quiet "$(<"$store/id")" "docker-archive:$store/archive.tar:$name"
# In one step: what is called by that name is a whole archive.
mv "$store/archive.tar" "$archive.new"
mv "$archive.new" "$archive"
echo "$name is in $archive: $(stat --format %s "$archive") bytes, image $(<"$store/id")"
