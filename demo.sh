#!/usr/bin/env bash
# Answers approvals as a user would, with kubectl, in a real Kubernetes API server and a CodePipeline on this machine:
# four that are pending, and two whose runs are still on their way.
# `make demo` builds what this needs. Exits with 0 only if each decision came out as told.
set -euo pipefail
cd "$(dirname "$0")"
bin=$(cd "${CARGO_TARGET_DIR:-target}/debug" && pwd)
export PATH=$bin:$PATH

if [[ -z ${IN_CONTROL_PLANE:-} ]]; then
  echo "Starting etcd and kube-apiserver (some 4 s)"
  exec control-plane run -- env IN_CONTROL_PLANE=yes "$PWD/demo.sh"
fi

folder=$(mktemp --directory)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -r "$folder"' EXIT

bold= plain=
if [[ -t 1 ]]; then bold=$'\e[1m' plain=$'\e[0m'; fi
say() { printf '\n%s# %s%s\n' "$bold" "$*" "$plain"; }
show() { printf '%s$ %s%s\n' "$bold" "$*" "$plain"; }
run() { # command, shown as it is typed
  show "$@"
  "$@"
}
fail() {
  echo "The demo failed: $*" >&2
  exit 1
}
expect() { # decision, the reason that it should come to
  kubectl wait apd "$1" --timeout=30s --for=jsonpath="{.status.conditions[?(@.type=='Ready')].reason}=$2" >/dev/null ||
    fail "$1 is $(kubectl get apd "$1" -o jsonpath="{.status.conditions[?(@.type=='Ready')].reason}"), not $2"
}
open() { # pipeline, the manifest that answers its approval
  local token
  token=$(local-codepipeline open-approval "$1" Prod Approve)
  grep -q "$token" "$2" || fail "the approval of $1 has the token $token, and $2 another"
}

start() { # pipeline, and what else is to be said of its run
  run local-codepipeline start-run "$1" Prod Approve "${@:2}"
}

# Seeded, so that the tokens and the run are those of the manifests.
local-codepipeline serve --address 127.0.0.1:0 --lags none --id-seed 1 >"$folder/url" &
until [[ -s $folder/url ]]; do kill -0 $! && sleep 0.05; done
export AWS_ENDPOINT_URL AWS_REGION=eu-west-1 AWS_ACCESS_KEY_ID=approval-operator AWS_SECRET_ACCESS_KEY=secret
AWS_ENDPOINT_URL=$(<"$folder/url")

say "Install the CustomResourceDefinition and the operator's rights, and start the operator"
run kubectl apply --server-side --filename crds/
run kubectl apply --filename examples/operator-rbac.yaml
kubectl wait --for=condition=Established crd/approvaldecisions.codepipeline.approvals.dev >/dev/null
show approval-operator run --poll-interval=1s
KUBECONFIG=$KUBECONFIG_OPERATOR approval-operator run --poll-interval=1s --http-address=127.0.0.1:0 2>"$folder/log" &

say "Four runs wait for an approval; one of them is approved by bob in the console"
open checkout examples/approve.yaml
open payments examples/reject.yaml
local-codepipeline open-approval search Prod Approve >/dev/null
open invoices examples/already-decided.yaml
run local-codepipeline answer invoices Prod Approve --status Approved --summary fine --as bob

say "Another run is still being built"
start catalog --build-takes 4s | tee "$folder/run"
grep -q "$(tail --lines=1 "$folder/run")" examples/wait-for-execution.yaml ||
  fail "the run is not that of wait-for-execution.yaml"

say "Answer them from manifests: by their tokens, by the run, and by a commit that no run has yet"
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

say "What is pending is answered, and the others wait"
run kubectl get apd
run kubectl get apd wait-for-execution wait-for-revision \
  --output=custom-columns='NAME:.metadata.name,MESSAGE:.status.conditions[0].message'

say "A run of the commit begins, and both runs get to the approval"
commit=$(sed -n 's/.*revisionId: //p' examples/wait-for-revision.yaml)
start catalog --revision "Source=$commit"
expect wait-for-revision Delivered
expect wait-for-execution Delivered

say "What became of them"
run kubectl get apd
run kubectl describe apd approve-checkout
say "And of the one with the wrong token"
run kubectl describe apd wrong-token

say "What CodePipeline was asked"
run local-codepipeline ledger
accepted=$(local-codepipeline ledger --json | grep -c '"accepted"') || true
[[ $accepted == 5 ]] || fail "CodePipeline accepted $accepted answers, not 5 (the operator's four, and bob's)"

say "The operator's log"
cat "$folder/log"
say "Each decision came out as it should."
