#!/usr/bin/env bash
# Builds the last stage of the Dockerfile from a binary built on this machine, and saves the image and its SBOM in
# target/image. The first stage needs a base image from a registry; this script runs that stage's only command,
# hack/image/root.sh, directly.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

hack/image/packages.sh buildah ca-certificates gcc jq libc6-dev
folder=${CARGO_TARGET_DIR:-target}/image
# The image has the commit's time, so that every build of the commit gives the same image.
if [[ -z ${SOURCE_DATE_EPOCH:-} ]]; then
  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) || {
    echo "git cannot read the last commit in $PWD, whose time becomes the time of the image: build in a clone that belongs to you" \
      "(uid $EUID), or set SOURCE_DATE_EPOCH to the seconds since 1970 for the image" >&2
    exit 1
  }
fi
export SOURCE_DATE_EPOCH
revision=$(git describe --always --abbrev=40 --dirty --exclude '*' 2>/dev/null) || revision=unknown
version=$(cargo pkgid --package approval-operator)
version=${version##*[@#]}

echo "Building the operator's image (about 6 min on two cores the first time)"
# The program reports it as a label of the metric approval_operator_build_info.
SOURCE_REVISION=$revision hack/image/root.sh "$folder/build/out"
hack/image/archive.sh "approval-operator:$version" "$folder/approval-operator.tar" \
  --build-context "build=$folder/build" \
  --build-arg "VERSION=$version" \
  --build-arg "REVISION=$revision" \
  --build-arg "CREATED=$(date --utc --date "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" \
  .
hack/image/sbom.sh "$folder/build/out" "$folder/approval-operator.cdx.json"
