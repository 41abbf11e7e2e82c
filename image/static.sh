#!/usr/bin/env bash
# Builds one program of this workspace into OUTPUT, statically linked and without the path of any folder of this machine
# in it: what an image FROM scratch can hold. The Dockerfile and `make image` both call it, so what is tested here is
# what the Dockerfile builds.
set -euo pipefail

[[ $# == 2 ]] || {
  echo "usage: $0 PACKAGE OUTPUT, such as: $0 approval-operator target/image/root/approval-operator" >&2
  exit 2
}
package=$1 output=$(realpath --canonicalize-missing "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Named even though it is this machine's: then the flags reach the program alone, not the build scripts and procedural
# macros, which cannot be static.
target=$(rustc --version --verbose | sed -n 's/^host: //p')
targets=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
# Writes into the program which packages it is made of, where Trivy, Grype and Syft look for them: an image FROM scratch
# tells them nothing else. Without optimization, as it takes longer to build than to run.
cargo install --quiet --locked --debug --root "$targets/tools" cargo-auditable@0.7.7
cargo fetch --locked --target "$target"

flags=(-Ctarget-feature=+crt-static "--remap-path-prefix=$PWD=/src" "--remap-path-prefix=$targets=/target")
# The folder of a registry is named after its host, which may be a mirror.
for sources in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
  flags+=("--remap-path-prefix=${sources%/}=/registry")
done
# This variable wins over RUSTFLAGS and every configuration file.
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS
# cargo makes the names of symbols, and so their order, of the path of what stands before rustc. The tool would give it
# that of its own file; env, in the place of cargo, gives it a name that is the same everywhere.
PATH=$targets/tools/bin:$PATH CARGO=/usr/bin/env cargo-auditable auditable RUSTC_WORKSPACE_WRAPPER=cargo-auditable \
  cargo build --locked --release --target "$target" --package "$package" --bin "$package"

mkdir -p "$(dirname "$output")"
install -m 755 "$targets/$target/release/$package" "$output"
