#!/usr/bin/env bash
# Builds the image of local-codepipeline, as the operator's is built, into target/image/local-codepipeline.tar.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

targets=${CARGO_TARGET_DIR:-target}
image/packages.sh buildah gcc libc6-dev
echo "Building the image of local-codepipeline (some 2 min on two cores the first time)"
image/static.sh local-codepipeline "$targets/image/local-codepipeline/local-codepipeline"
SOURCE_DATE_EPOCH=0 image/archive.sh local-codepipeline:e2e "$targets/image/local-codepipeline.tar" \
  --file tests/e2e/Dockerfile "$targets/image/local-codepipeline"
