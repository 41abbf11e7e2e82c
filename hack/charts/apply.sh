#!/usr/bin/env bash
# Validates the rendered charts with a real API server, for the default values and for each file in ci/: schemas, unknown fields,
# names, quantities, CEL, and the restricted Pod Security Standard. Then installs the charts and follows NOTES.txt. check.sh runs
# this in a control plane of its own, which has no nodes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
helm=$PWD/crates/test-control-plane/bin/helm
chart=charts/approval-operator
fail() {
  echo "$*" >&2
  exit 1
}

# The CRDs of the Prometheus Operator, so that its resources are validated too.
kubectl create --filename hack/charts/bin/monitoring.coreos.com_prometheusrules.yaml >/dev/null
kubectl create --filename hack/charts/bin/monitoring.coreos.com_servicemonitors.yaml >/dev/null
"$helm" install approval-operator-crds charts/approval-operator-crds >/dev/null
kubectl wait --for=condition=Established --timeout=30s crd --all >/dev/null
# kubectl caches the list of resources for hours; this refreshes it.
kubectl api-resources >/dev/null

# enforce rejects pods; warn reports objects that create pods.
for namespace in approvals team-a team-b 123; do
  kubectl create namespace "$namespace" >/dev/null
  kubectl label namespace "$namespace" pod-security.kubernetes.io/{enforce,warn}=restricted >/dev/null
done
dry_run() { # reads manifests on stdin, writes the output of kubectl to $folder/output
  kubectl apply --server-side --dry-run=server --warnings-as-errors --filename - >"$folder/output" 2>&1
}

folder=$(mktemp --directory)
trap 'rm -r "$folder"' EXIT
for values in "$chart"/values.yaml "$chart"/ci/*-values.yaml; do
  "$helm" template ao "$chart" --namespace approvals --values "$values" >"$folder/rendered"
  dry_run <"$folder/rendered" || fail "The API server rejects $chart rendered with $values: $(<"$folder/output")"
  echo "$values: the API server accepts $(grep -c 'serverside-applied' "$folder/output") objects"
done

# Proves that the dry run detects violations.
sed 's/runAsNonRoot: true/runAsNonRoot: false/' "$folder/rendered" >"$folder/root"
dry_run <"$folder/root" && fail "The API server accepts pods that run as root."
grep --quiet 'restricted' "$folder/output" || fail "The API server rejects pods that run as root for another reason: $(<"$folder/output")"
echo "The API server rejects pods that run as root"

# The commands of NOTES.txt with the placeholders replaced: step 4 grants the permission, step 5 uses it.
"$helm" install ao $chart --namespace approvals >"$folder/notes"
sed --quiet --expression 's/USER/alice/' --expression 's/NAMESPACE/team-a/' --expression 's/EXECUTION-ID/1c073e3d-9846-5018-a425-c09afedb3421/' \
  --expression '/^4\./,/^5\./ { s/^     //w '"$folder/grant" \
  --expression '}' --expression '/^5\./,$ s/^     //w '"$folder/use" "$folder/notes"
bash -euo pipefail "$folder/grant" >/dev/null || fail "The commands of step 4 of NOTES.txt fail."
(
  # shellcheck disable=SC2317 # called by the sourced commands
  kubectl() { command kubectl --as alice "$@"; }
  # shellcheck source=/dev/null
  source "$folder/use"
) >/dev/null || fail "The commands of step 5 of NOTES.txt fail for the user of step 4."
echo "The commands of NOTES.txt work"

"$helm" uninstall ao --namespace approvals >/dev/null
"$helm" uninstall approval-operator-crds >/dev/null
kubectl --namespace team-a get approvaldecision approve-checkout >/dev/null || fail "helm uninstall deleted decisions."
echo "Uninstalling the charts keeps the CRD and the decisions"
