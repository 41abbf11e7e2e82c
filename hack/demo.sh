#!/usr/bin/env bash
# Approves and rejects with kubectl, as a user does, in a real Kubernetes API server and a local CodePipeline: four approvals
# that are pending, and two that their executions have not reached yet.
# `make demo` builds what this needs. Exits with 0 only if every decision has the expected outcome.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(cd "${CARGO_TARGET_DIR:-target}/debug" && pwd)
export PATH=$bin:$PATH

if [[ -z ${IN_CONTROL_PLANE:-} ]]; then
  echo "Starting etcd and kube-apiserver (about 4 s)"
  exec test-control-plane run -- env IN_CONTROL_PLANE=yes "$PWD/hack/demo.sh"
fi

folder=$(mktemp --directory)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -r "$folder"' EXIT

bold='' plain=''
if [[ -t 1 ]]; then bold=$'\e[1m' plain=$'\e[0m'; fi
say() { printf '\n%s# %s%s\n' "$bold" "$*" "$plain"; }
show() { printf '%s$ %s%s\n' "$bold" "$*" "$plain"; }
run() { # command: prints it, then runs it
  show "$@"
  "$@"
}
fail() {
  echo "The demo failed: $*" >&2
  exit 1
}
expect() { # decision, reason: waits until the decision has the reason
  kubectl wait apd "$1" --timeout=30s --for=jsonpath="{.status.conditions[?(@.type=='Ready')].reason}=$2" >/dev/null ||
    fail "$1 is $(kubectl get apd "$1" -o jsonpath="{.status.conditions[?(@.type=='Ready')].reason}"), not $2"
}
open() { # pipeline, manifest of the decision for its approval
  local token
  token=$(local-codepipeline open-approval "$1" Prod Approve)
  grep -q "$token" "$2" || fail "the approval of $1 has the token $token, but $2 has another one"
}

start() { # pipeline, further arguments
  run local-codepipeline start-execution "$1" Prod Approve "${@:2}"
}

# Seeded, so that the tokens and the execution ID are those in the manifests.
local-codepipeline serve --address 127.0.0.1:0 --lags none --id-seed 1 >"$folder/url" &
until [[ -s $folder/url ]]; do kill -0 $! && sleep 0.05; done
export AWS_ENDPOINT_URL AWS_REGION=eu-west-1 AWS_ACCESS_KEY_ID=approval-operator AWS_SECRET_ACCESS_KEY=secret
AWS_ENDPOINT_URL=$(<"$folder/url")

say "Install the CustomResourceDefinition and the operator's RBAC, and start the operator"
run kubectl apply --server-side --filename crds/
run kubectl apply --filename examples/operator-rbac.yaml
kubectl wait --for=condition=Established crd/approvaldecisions.codepipeline.approvals.dev >/dev/null
show approval-operator run --poll-interval=1s
KUBECONFIG=$KUBECONFIG_OPERATOR approval-operator run --poll-interval=1s --http-address=127.0.0.1:0 2>"$folder/log" &

say "Four executions wait for an approval; bob approves one of them in the console"
open checkout examples/approve.yaml
open payments examples/reject.yaml
local-codepipeline open-approval search Prod Approve >/dev/null
open invoices examples/already-decided.yaml
run local-codepipeline respond invoices Prod Approve --status Approved --summary fine --as bob

say "Another execution is still building"
start catalog --build-duration 4s | tee "$folder/execution"
grep -q "$(tail --lines=1 "$folder/execution")" examples/wait-for-execution.yaml ||
  fail "the execution is not the one in wait-for-execution.yaml"

say "Apply decisions: by token, by execution, and by a commit that no execution has yet"
for manifest in approve wait-for-execution wait-for-revision; do
  run cat "examples/$manifest.yaml"
done
for manifest in wait-for-execution wait-for-revision approve reject wrong-token already-decided; do
  run kubectl apply --filename "examples/$manifest.yaml"
done
expect approve-checkout Delivered
expect reject-payments Delivered
expect wrong-token InvalidApprovalToken
expect already-decided AlreadyDecided
expect wait-for-revision Waiting

say "The pending approvals are settled, and the other decisions wait"
run kubectl get apd
run kubectl get apd wait-for-execution wait-for-revision \
  --output=custom-columns='NAME:.metadata.name,MESSAGE:.status.conditions[0].message'

say "An execution of the commit starts, and both executions reach the approval"
commit=$(sed -n 's/.*revisionId: //p' examples/wait-for-revision.yaml)
start catalog --revision "Source=$commit" | tee "$folder/execution"
expect wait-for-revision Delivered
expect wait-for-execution Delivered

say "One manifest per approval: the next release raises revisionId in the same decision"
next=a1b7c93e5d20f4186b3c7e9d8f0a2b4c6d8e0f12
show "sed s/$commit/$next/ examples/wait-for-revision.yaml | kubectl apply --filename -"
sed "s/$commit/$next/" examples/wait-for-revision.yaml | kubectl apply --filename -
expect wait-for-revision Waiting
start catalog --revision "Source=$next"
expect wait-for-revision Delivered
run kubectl get apd wait-for-revision --output=jsonpath-as-json='{.status.history}' | tee "$folder/history"
grep -q "$(tail --lines=1 "$folder/execution")" "$folder/history" ||
  fail "status.history does not have the execution of the release before"

say "The outcomes"
run kubectl get apd
run kubectl describe apd approve-checkout
say "The decision with the wrong token"
run kubectl describe apd wrong-token

say "The submissions that CodePipeline received"
run local-codepipeline ledger
accepted=$(local-codepipeline ledger --json | grep -c '"accepted"') || true
[[ $accepted == 6 ]] || fail "CodePipeline accepted $accepted results, not 6 (five from the operator, one from bob)"

say "The operator's log"
cat "$folder/log"
say "Every decision has the expected outcome."
