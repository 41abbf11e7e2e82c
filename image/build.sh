#!/usr/bin/env bash
# Builds the last stage of the Dockerfile from a program built on this machine, and saves the image and its software
# bill of materials in target/image. The stage before it needs an image of a registry; here image/root.sh, which is all
# that it runs, runs without it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

image/packages.sh buildah ca-certificates gcc jq libc6-dev
folder=${CARGO_TARGET_DIR:-target}/image
# The commit's time is the image's, so that everyone who builds the commit gets the same image.
if [[ -z ${SOURCE_DATE_EPOCH:-} ]]; then
  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) || {
    echo "git does not tell the commit in $PWD, whose time would be the image's: build in a clone that belongs to you (uid $EUID)," \
      "or set SOURCE_DATE_EPOCH to the seconds since 1970 that the image shall be of" >&2
    exit 1
  }
fi
export SOURCE_DATE_EPOCH
revision=$(git describe --always --abbrev=40 --dirty --exclude '*' 2>/dev/null) || revision=unknown
version=$(cargo pkgid --package approval-operator)
version=${version##*[@#]}

echo "Building the operator's image (some 6 min on two cores the first time)"
image/root.sh "$folder/build/out"
image/archive.sh "approval-operator:$version" "$folder/approval-operator.tar" \
  --build-context "build=$folder/build" \
  --build-arg "VERSION=$version" \
  --build-arg "REVISION=$revision" \
  --build-arg "CREATED=$(date --utc --date "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" \
  .
image/sbom.sh "$folder/build/out" "$folder/approval-operator.cdx.json"
