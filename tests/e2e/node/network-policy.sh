#!/usr/bin/env bash
# Enforces NetworkPolicies between the pods of the node, and between pods and the node, within the limits of network-policy.jq.
# It updates the rules whenever a pod, a namespace or a policy changes. Argument: kubeconfig file.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export KUBECONFIG=$1 KUBERC=off
iptables --wait --new-chain NETWORK-POLICY
iptables --wait --insert FORWARD --jump NETWORK-POLICY
iptables --wait --insert INPUT --jump NETWORK-POLICY

watch() {
  while sleep 0.1; do kubectl get "$1" --all-namespaces --watch --output name; done
}
{ watch pods & watch namespaces & watch networkpolicies; } | while read -r _; do
  # Batches changes that arrive together.
  while read -r -t 0.05 _; do :; done
  kubectl get pods,namespaces,networkpolicies --all-namespaces --output json | jq --raw-output --from-file "$here/network-policy.jq" |
    iptables-restore --wait --noflush || echo "These NetworkPolicies are not enforced" >&2
done
