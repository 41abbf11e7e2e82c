#!/usr/bin/env bash
# Runs a command in a Kubernetes cluster with one real node, without a container engine. This script creates the network, process
# and mount namespaces in which cluster.sh starts the cluster, and at the end removes what the kernel keeps, such as cgroups.
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
  [[ -r ${2:-} ]] || { echo "node.sh: --image ${2:-} is not a readable file: build it, or correct the path" >&2; exit 2; }
  images+=("$(realpath "$2")")
  shift 2
done
[[ ${1:-} == -- && $# -gt 1 ]] || usage
shift

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
((EUID == 0)) || { echo "node.sh: only root can create the namespaces, mounts and cgroups of a node: run it as root" >&2; exit 1; }
bin=$(realpath --canonicalize-missing "$here/../../../crates/test-control-plane/bin")
assets=${KUBEBUILDER_ASSETS:-$bin}
for program in "$assets"/{etcd,kube-apiserver,kubectl} "$bin"/{helm,kube-controller-manager,kube-proxy,kube-scheduler,kubelet} \
  "$here/bin/pause.tar" /usr/lib/cni/bridge; do
  [[ -r $program ]] || { echo "node.sh: $program is missing: run \`make control-plane node helm\`" >&2; exit 1; }
done
for program in containerd ctr dnsmasq ip iptables jq runc; do
  type -P "$program" >/dev/null || { echo "node.sh: $program is not in PATH: run \`make node\`" >&2; exit 1; }
done

# Makes the packets of a bridge pass kube-proxy's rules. Debian's kernel has this module but does not load it automatically.
if [[ ! -e /proc/sys/net/bridge/bridge-nf-call-iptables ]]; then
  modprobe br_netfilter || {
    echo "node.sh: the kernel module br_netfilter is not loaded, and cannot be loaded from here: run \`modprobe br_netfilter\` as root" \
      "on this machine, or on the host if this is a container" >&2
    exit 1
  }
  # Only for the node's bridge: other bridges of this machine keep their behaviour.
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
  # All processes in the cgroups have ended with their process namespace, or are about to.
  for hierarchy in "${hierarchies[@]}"; do
    # shellcheck disable=SC2016 # expanded by the inner shell
    timeout 10 bash -c 'until find "$1" -depth -type d -exec rmdir {} + 2>/dev/null; do sleep 0.05; done' - "$hierarchy/$name" ||
      { echo "node.sh: cannot remove $hierarchy/$name, because a process is still running in it" >&2; status=1; }
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
# Ctrl-C is for COMMAND. This script exits with COMMAND's status.
trap '' INT

# The pods' cgroups, separate from those of other processes on this machine.
while read -r hierarchy; do
  mkdir "$hierarchy/$name"
  hierarchies+=("$hierarchy")
done < <(findmnt --noheadings --list --output TARGET --types cgroup,cgroup2)

export NODE_FOLDER=$folder NODE_CGROUP=/$name NODE_BIN=$bin NODE_ASSETS=$assets
printf '%s\n' "$here/bin/pause.tar" "${images[@]}" >"$folder/images"
# All processes end with the first process, which ends with this script, even if this script is killed.
env --default-signal=INT,QUIT setpriv --pdeathsig KILL -- \
  unshare --net --mount --ipc --uts --pid --fork --kill-child --mount-proc -- "$here/cluster.sh" "$@" <&0 &
first=$!
wait "$first"
