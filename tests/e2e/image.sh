#!/usr/bin/env bash
# Builds the image of local-codepipeline, in the same way as the operator's image, into target/image/local-codepipeline.tar.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

targets=${CARGO_TARGET_DIR:-target}
hack/image/packages.sh buildah gcc libc6-dev
echo "Building the image of local-codepipeline (about 2 min on two cores the first time)"
hack/image/static.sh local-codepipeline "$targets/image/local-codepipeline/local-codepipeline"
SOURCE_DATE_EPOCH=0 hack/image/archive.sh local-codepipeline:e2e "$targets/image/local-codepipeline.tar" \
  --file tests/e2e/Dockerfile "$targets/image/local-codepipeline"
