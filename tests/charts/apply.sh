#!/usr/bin/env bash
# Has a real API server judge what the charts render, with the default values and with each file in ci/: schemas, unknown fields,
# names, quantities and CEL, and the restricted Pod Security Standard. Then it installs them and does what NOTES.txt says. check.sh
# runs this in a control plane of its own, where nothing runs pods.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
helm=$PWD/tests/control-plane/bin/helm
chart=charts/approval-operator
fail() {
  echo "$*" >&2
  exit 1
}

# The Prometheus Operator's, so that what is made for it is judged too.
kubectl create --filename tests/charts/bin/monitoring.coreos.com_prometheusrules.yaml >/dev/null
kubectl create --filename tests/charts/bin/monitoring.coreos.com_servicemonitors.yaml >/dev/null
"$helm" install approval-operator-crds charts/approval-operator-crds >/dev/null
kubectl wait --for=condition=Established --timeout=30s crd --all >/dev/null
# kubectl remembers what the server had before, for hours; this makes it look again.
kubectl api-resources >/dev/null

# Pods are refused, and what makes pods is warned about.
for namespace in approvals team-a team-b 123; do
  kubectl create namespace "$namespace" >/dev/null
  kubectl label namespace "$namespace" pod-security.kubernetes.io/{enforce,warn}=restricted >/dev/null
done
judge() { # takes manifests, and leaves what the API server says of them in $folder/verdict
  kubectl apply --server-side --dry-run=server --warnings-as-errors --filename - >"$folder/verdict" 2>&1
}

folder=$(mktemp --directory)
trap 'rm -r "$folder"' EXIT
for values in $chart/values.yaml $chart/ci/*-values.yaml; do
  "$helm" template ao "$chart" --namespace approvals --values "$values" >"$folder/rendered"
  judge <"$folder/rendered" || fail "What $chart renders with $values is refused: $(<"$folder/verdict")"
  echo "$values: the API server takes $(grep -c 'serverside-applied' "$folder/verdict") objects"
done

# So that a check that lets everything pass is told from charts without a fault.
sed 's/runAsNonRoot: true/runAsNonRoot: false/' "$folder/rendered" >"$folder/forged"
judge <"$folder/forged" && fail "Pods that run as root were not refused."
grep --quiet 'restricted' "$folder/verdict" || fail "Pods that run as root were refused for another reason: $(<"$folder/verdict")"
echo "Pods that run as root are refused"

# The commands of NOTES.txt, as they are but for the words in capitals: those that give the right, and that which uses it.
"$helm" install ao $chart --namespace approvals >"$folder/notes"
sed --quiet --expression 's/USER/somebody/' --expression 's/RUN-ID/1c073e3d-9846-5018-a425-c09afedb3421/' \
  --expression '/^3\./,/^4\./ { s/^     //w '"$folder/give" --expression '}' --expression '/^4\./,$ s/^     //w '"$folder/use" "$folder/notes"
bash -euo pipefail "$folder/give" >/dev/null || fail "NOTES.txt tells how to let somebody decide, and that fails."
(
  kubectl() { command kubectl --as somebody "$@"; }
  source "$folder/use"
) >/dev/null || fail "NOTES.txt tells how to decide, and that fails for whom it gave the right."
echo "What NOTES.txt says works"

"$helm" uninstall ao --namespace approvals >/dev/null
"$helm" uninstall approval-operator-crds >/dev/null
kubectl --namespace approvals get approvaldecision approve-checkout >/dev/null || fail "helm uninstall has deleted decisions."
echo "Uninstalling the charts leaves the CRD and the decisions"
