#!/usr/bin/env bash
# Builds bin/pause.tar, the image of the process that holds a pod's namespaces open while its containers start and stop.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
[[ bin/pause.tar -nt pause.sh ]] && exit 0
command -v cc >/dev/null || { echo "The pause image needs a C compiler: install gcc and libc6-dev." >&2; exit 1; }

mkdir -p bin
folder=$(mktemp --directory)
trap 'rm -r "$folder"' EXIT
cc -static -O2 -s -o "$folder/pause" -x c - <<'END'
#include <unistd.h>
int main(void) { for (;;) pause(); }
END
tar --create --directory "$folder" --owner 0 --group 0 --file "$folder/layer.tar" pause
layer=$(sha256sum "$folder/layer.tar")
cat >"$folder/config.json" <<END
{"architecture": "$(dpkg --print-architecture)", "os": "linux", "config": {"Entrypoint": ["/pause"]},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:${layer%% *}"]}}
END
echo '[{"Config": "config.json", "RepoTags": ["localhost/pause:local"], "Layers": ["layer.tar"]}]' >"$folder/manifest.json"
tar --create --directory "$folder" --file bin/pause.tar.new manifest.json config.json layer.tar
mv bin/pause.tar.new bin/pause.tar
