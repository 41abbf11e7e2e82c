#!/usr/bin/env bash
# Builds one binary of this workspace into OUTPUT, statically linked for an image FROM scratch, and without any path of this
# machine in it. The Dockerfile and `make image` both run this, so the tests cover the build of the Dockerfile.
set -euo pipefail

[[ $# == 2 ]] || {
  echo "usage: $0 PACKAGE OUTPUT, for example: $0 approval-operator target/image/root/approval-operator" >&2
  exit 2
}
package=$1 output=$(realpath --canonicalize-missing "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# The host's own target, but named explicitly: then the flags apply to the binary only, and not to build scripts and
# procedural macros, which cannot be static.
target=$(rustc --version --verbose | sed -n 's/^host: //p')
targets=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
# cargo-auditable embeds the list of crates in the binary, where Trivy, Grype and Syft read it: an image FROM scratch has no
# package database. A debug build, because compiling it takes longer than running it.
cargo install --quiet --locked --debug --root "$targets/tools" cargo-auditable@0.7.7
cargo fetch --locked --target "$target"

flags=(-Ctarget-feature=+crt-static "--remap-path-prefix=$PWD=/src" "--remap-path-prefix=$targets=/target")
# The name of a registry's directory contains the host, which may be a mirror.
for sources in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
  flags+=("--remap-path-prefix=${sources%/}=/registry")
done
# Takes precedence over RUSTFLAGS and every configuration file.
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS
# cargo derives the names of symbols, and so their order, from the path of the rustc wrapper. cargo-auditable would pass its
# own path; with env in the place of cargo, the name is the same on every machine.
PATH=$targets/tools/bin:$PATH CARGO=/usr/bin/env cargo-auditable auditable RUSTC_WORKSPACE_WRAPPER=cargo-auditable \
  cargo build --locked --release --target "$target" --package "$package" --bin "$package"

mkdir -p "$(dirname "$output")"
install -m 755 "$targets/$target/release/$package" "$output"
