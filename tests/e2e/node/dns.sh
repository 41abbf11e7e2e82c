#!/usr/bin/env bash
# The cluster's DNS: dnsmasq with a hosts file for each Service, updated by a watch. It resolves Services that have a cluster IP, and
# answers NXDOMAIN for all other names. Arguments: kubeconfig file, address to listen on, directory for the files.
set -euo pipefail

export KUBECONFIG=$1 KUBERC=off
address=$2 hosts=$3
mkdir -p "$hosts"
dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --listen-address="$address" --bind-interfaces --no-resolv --no-hosts \
  --local=/#/ --hostsdir="$hosts" &

# The API server closes watches from time to time. The next watch starts with all existing Services.
while sleep 0.1; do
  kubectl get services --all-namespaces --watch --output-watch-events \
    --output jsonpath='{.type} {.object.spec.clusterIP} {.object.metadata.name}.{.object.metadata.namespace}.svc{"\n"}' |
    while read -r event address name; do
      case $event/$address in
        DELETED/*) rm -f "$hosts/$name" ;;
        */None | */) ;;
        *) echo "$address $name.cluster.local" >"$hosts/$name" ;;
      esac
    done
done
