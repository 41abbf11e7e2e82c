#!/usr/bin/env bash
# Writes the software bill of materials of the image that image/root.sh has laid out: the packages that the program is
# made of, what is linked into it besides, and the certificates. CycloneDX 1.5, as JSON; the same files and
# SOURCE_DATE_EPOCH give the same bill.
set -euo pipefail

[[ $# == 2 && -n ${SOURCE_DATE_EPOCH:-} ]] || {
  echo "usage: SOURCE_DATE_EPOCH=SECONDS $0 ROOT OUTPUT, with ROOT as image/root.sh made it" >&2
  exit 2
}
root=$(realpath "$1") output=$(realpath --canonicalize-missing "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")/tools
target=$(rustc --version --verbose | sed -n 's/^host: //p')

# Without optimization, as it takes longer to build than to run.
cargo install --quiet --locked --debug --root "$tools" cargo-cyclonedx@0.5.9

# It writes a bill beside each manifest, and the folder's path into it: so it gets a copy of the sources, whose path is
# then replaced by the one that stands in the program.
folder=$(mktemp --directory)
trap 'rm -rf "$folder"' EXIT
find . -path ./target -prune -o \( -name '*.rs' -o -name Cargo.toml -o -name Cargo.lock \) \
  -exec cp --parents --target-directory "$folder" {} +
PATH=$tools/bin:$PATH cargo cyclonedx -qq --manifest-path "$folder/Cargo.toml" --target "$target" --no-build-deps \
  --format json --spec-version 1.5 --override-filename bill

# What is compiled into the program: the bill also has procedural macros, and packages that only features not enabled
# would ask for.
built=$(cargo tree --locked --target "$target" --package approval-operator --edges normal,no-proc-macro \
  --prefix none --format '{p}' | awk '{ print $1 "@" substr($2, 2) }' | sort --unique)

# Debian's packages of these files, which are not cargo's to know.
linked=("$(realpath "$(gcc --print-file-name=libc.a)")" "$(realpath "$(gcc --print-file-name=libgcc_eh.a)")")
packages=$(dpkg-query --search "${linked[@]}" /usr/share/ca-certificates/mozilla | sed 's/: .*//' | sort --unique)
distribution=$(. /etc/os-release && echo "$ID-$VERSION_ID")
# shellcheck disable=SC2086 # one word a package
besides=$(dpkg-query --show --showformat '${Package} ${Version} ${Architecture} ${source:Package}\n' $packages |
  jq --raw-input --slurp --arg distribution "$distribution" '
    split("\n") | map(select(. != "") | split(" ") | {
      type: "library", name: .[0], version: .[1], scope: "required",
      purl: "pkg:deb/debian/\(.[0])@\(.[1] | @uri)?arch=\(.[2])&distro=\($distribution)&upstream=\(.[3])"
    } | .["bom-ref"] = .purl)')

digest=$(sha256sum "$root/approval-operator" | cut --delimiter ' ' --fields 1)
jq --compact-output --sort-keys --arg folder "$folder" --arg built "$built" --arg digest "$digest" \
  --argjson besides "$besides" '
  walk(if type == "string" then gsub("path\\+file://" + $folder; "path+file:///src") else . end)
  | ($built | split("\n")) as $built
  | .components |= map(select(.name + "@" + .version | IN($built[])))
  | ([.metadata.component, .components[]] | map(.["bom-ref"])) as $refs
  | .dependencies |= (map(select(.ref | IN($refs[]))) | map(.dependsOn |= (. // [] | map(select(IN($refs[]))))))
  | .dependencies |= map(if .ref == $refs[0] then .dependsOn += ($besides | map(.["bom-ref"])) else . end)
  | .components += $besides
  | .metadata.component.hashes = [{alg: "SHA-256", content: $digest}]
' "$folder/bill.json" >"$output"
