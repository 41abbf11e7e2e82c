#!/usr/bin/env bash
# Writes the SBOM of the image for the files of hack/image/root.sh: the crates compiled into the binary, the Debian packages
# linked into it, and the CA certificates. The format is CycloneDX 1.5 JSON; the same files and SOURCE_DATE_EPOCH give the
# same SBOM.
set -euo pipefail

[[ $# == 2 && -n ${SOURCE_DATE_EPOCH:-} ]] || {
  echo "usage: SOURCE_DATE_EPOCH=SECONDS $0 ROOT OUTPUT (ROOT is the directory that hack/image/root.sh created)" >&2
  exit 2
}
root=$(realpath "$1") output=$(realpath --canonicalize-missing "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
tools=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")/tools
target=$(rustc --version --verbose | sed -n 's/^host: //p')

# A debug build, because compiling it takes longer than running it.
cargo install --quiet --locked --debug --root "$tools" cargo-cyclonedx@0.5.9

# cargo-cyclonedx writes an SBOM beside each manifest, with the directory's path in it. So it runs on a copy of the sources,
# and the path is replaced below with the one in the binary.
folder=$(mktemp --directory)
trap 'rm -rf "$folder"' EXIT
find . -path ./target -prune -o \( -name '*.rs' -o -name Cargo.toml -o -name Cargo.lock \) \
  -exec cp --parents --target-directory "$folder" {} +
PATH=$tools/bin:$PATH cargo cyclonedx -qq --manifest-path "$folder/Cargo.toml" --target "$target" --no-build-deps \
  --format json --spec-version 1.5 --override-filename sbom

# The crates compiled into the binary: the SBOM also has procedural macros, and crates that only disabled features need.
built=$(cargo tree --locked --target "$target" --package approval-operator --edges normal,no-proc-macro \
  --prefix none --format '{p}' | awk '{ print $1 "@" substr($2, 2) }' | sort --unique)

# The Debian packages of the files that cargo does not know about.
linked=("$(realpath "$(gcc --print-file-name=libc.a)")" "$(realpath "$(gcc --print-file-name=libgcc_eh.a)")")
packages=$(dpkg-query --search "${linked[@]}" /usr/share/ca-certificates/mozilla | sed 's/: .*//' | sort --unique)
distribution=$(. /etc/os-release && echo "$ID-$VERSION_ID")
# shellcheck disable=SC2086 # one word per package
debian=$(dpkg-query --show --showformat '${Package} ${Version} ${Architecture} ${source:Package}\n' $packages |
  jq --raw-input --slurp --arg distribution "$distribution" '
    split("\n") | map(select(. != "") | split(" ") | {
      type: "library", name: .[0], version: .[1], scope: "required",
      purl: "pkg:deb/debian/\(.[0])@\(.[1] | @uri)?arch=\(.[2])&distro=\($distribution)&upstream=\(.[3])"
    } | .["bom-ref"] = .purl)')

digest=$(sha256sum "$root/approval-operator" | cut --delimiter ' ' --fields 1)
jq --compact-output --sort-keys --arg folder "$folder" --arg built "$built" --arg digest "$digest" \
  --argjson debian "$debian" '
  walk(if type == "string" then gsub("path\\+file://" + $folder; "path+file:///src") else . end)
  | ($built | split("\n")) as $built
  | .components |= map(select(.name + "@" + .version | IN($built[])))
  | ([.metadata.component, .components[]] | map(.["bom-ref"])) as $refs
  | .dependencies |= (map(select(.ref | IN($refs[]))) | map(.dependsOn |= (. // [] | map(select(IN($refs[]))))))
  | .dependencies |= map(if .ref == $refs[0] then .dependsOn += ($debian | map(.["bom-ref"])) else . end)
  | .components += $debian
  | .metadata.component.hashes = [{alg: "SHA-256", content: $digest}]
' "$folder/sbom.json" >"$output"
