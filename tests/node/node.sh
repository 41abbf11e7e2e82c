#!/usr/bin/env bash
# A Kubernetes cluster of one real node, without a container engine, for as long as a command runs. This script gives the cluster
# a network, processes and mounts of its own, where cluster.sh starts it, and clears away what the kernel keeps beyond those.
set -euo pipefail

usage() {
  cat >&2 <<'END'
usage: node.sh run [--image ARCHIVE]... -- COMMAND...

Starts the cluster, imports the images (as `docker save` or `buildah push docker-archive:` write them), runs COMMAND with KUBECONFIG
set and kubectl and helm in PATH, takes everything down, and exits as COMMAND did. `make control-plane node helm` builds what it needs.
END
  exit 2
}

[[ ${1:-} == run ]] || usage
shift
images=()
while [[ ${1:-} == --image ]]; do
  [[ -r ${2:-} ]] || { echo "node.sh: --image ${2:-} is not a file that can be read: build it, or correct the path" >&2; exit 2; }
  images+=("$(realpath "$2")")
  shift 2
done
[[ ${1:-} == -- && $# -gt 1 ]] || usage
shift

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
((EUID == 0)) || { echo "node.sh: a node makes namespaces, mounts and cgroups, which only root can: run it as root" >&2; exit 1; }
bin=$here/../control-plane/bin assets=${KUBEBUILDER_ASSETS:-$here/../control-plane/bin}
for program in "$assets"/{etcd,kube-apiserver,kubectl} "$bin"/{helm,kube-controller-manager,kube-proxy,kube-scheduler,kubelet} \
  "$here/bin/pause.tar" /usr/lib/cni/bridge; do
  [[ -r $program ]] || { echo "node.sh: there is no $program: run \`make control-plane node helm\`" >&2; exit 1; }
done
for program in containerd ctr dnsmasq ip iptables jq runc; do
  type -P "$program" >/dev/null || { echo "node.sh: there is no $program in PATH: run \`make node\`" >&2; exit 1; }
done

# With this module a bridge's packets meet kube-proxy's rules. Debian's kernel has it and does not load it by itself.
if [[ ! -e /proc/sys/net/bridge/bridge-nf-call-iptables ]]; then
  modprobe br_netfilter || {
    echo "node.sh: the kernel's module br_netfilter is not loaded, and cannot be loaded from here: run \`modprobe br_netfilter\` as root" \
      "on the machine itself, or on the host where this is a container" >&2
    exit 1
  }
  # Only the node's bridge shall have it: this machine's own go on as before.
  echo 0 | tee /proc/sys/net/bridge/bridge-nf-call-{arp,ip,ip6}tables >/dev/null
fi

folder=$(mktemp --directory --tmpdir node-XXXXXXXX)
name=${folder##*/}
mkdir "$folder/log"
hierarchies=()
clear_away() {
  local status=$? hierarchy
  trap - EXIT
  [[ -z ${first:-} ]] || { kill -KILL "$first" && wait "$first"; } 2>/dev/null || true
  # Whatever ran in them has ended with its process namespace, or is about to.
  for hierarchy in "${hierarchies[@]}"; do
    # shellcheck disable=SC2016 # The other shell expands it.
    timeout 10 bash -c 'until find "$1" -depth -type d -exec rmdir {} + 2>/dev/null; do sleep 0.05; done' - "$hierarchy/$name" ||
      { echo "node.sh: $hierarchy/$name is left, and something still runs in it" >&2; status=1; }
  done
  if ((status)); then
    echo "The logs of the node and of its pods are in $folder/log." >&2
  else
    rm -r "$folder"
  fi
  exit "$status"
}
trap clear_away EXIT
trap 'exit 143' TERM HUP
# Ctrl-C is for COMMAND, and what follows from it is seen in how COMMAND ends.
trap '' INT

# The pods' cgroups, apart from those of whatever else runs on this machine.
while read -r hierarchy; do
  mkdir "$hierarchy/$name"
  hierarchies+=("$hierarchy")
done < <(findmnt --noheadings --list --output TARGET --types cgroup,cgroup2)

export NODE_FOLDER=$folder NODE_CGROUP=/$name NODE_BIN=$bin NODE_ASSETS=$assets
printf '%s\n' "$here/bin/pause.tar" "${images[@]}" >"$folder/images"
# All of it ends with the first process, and that one with this script, whatever ends it.
env --default-signal=INT,QUIT setpriv --pdeathsig KILL -- \
  unshare --net --mount --ipc --uts --pid --fork --kill-child --mount-proc -- "$here/cluster.sh" "$@" <&0 &
first=$!
wait "$first"
