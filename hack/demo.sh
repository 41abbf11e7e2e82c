#!/usr/bin/env bash
# Approves and rejects with kubectl, as a user does, in a real Kubernetes API server and a local CodePipeline: four approvals
# that are pending, two that their executions have not reached yet, and one in another account. It builds what it needs. Exits with
# 0 only if every decision has the expected outcome.
#
# DEMO_KUBECONFIG names the kubeconfig of a cluster to use. KUBECONFIG is not used, because it may point to a cluster of others:
# the demo creates CustomResourceDefinitions there.
set -euo pipefail
cd "$(dirname "$0")/.."
namespace=approval-operator-demo
crds=(crd/approvaldecisions.codepipeline.approvals.dev crd/approvaltargets.codepipeline.approvals.dev)
# What the operator may do in the whole cluster, and in the namespace default. The name differs from that of an installation.
cluster_role=approval-operator-demo-targets
programs="the operator and a local CodePipeline (about 5 minutes on two cores the first time, seconds after that)"

if [[ -n ${DEMO_KUBECONFIG:-} ]]; then
  command -v kubectl >/dev/null || {
    echo "The demo needs kubectl to use the cluster of DEMO_KUBECONFIG: install kubectl, or unset DEMO_KUBECONFIG." >&2
    exit 1
  }
  export KUBECONFIG=$DEMO_KUBECONFIG
  context=$(kubectl config current-context)
  server=$(kubectl config view --minify --output jsonpath='{.clusters[0].cluster.server}')
  echo "The demo uses the cluster of the context $context ($server), and builds $programs."
  # Where the definitions exist, an operator may run, which would submit the demo's decisions to real pipelines.
  existing=$(kubectl get --ignore-not-found --output name "${crds[@]}" "namespace/$namespace" "clusterrole/$cluster_role" \
    "clusterrolebinding/$cluster_role")
  if [[ -n $existing ]]; then
    echo "The cluster already has ${existing//$'\n'/ and }, which the demo would delete. Use another cluster, or delete what an" \
      "earlier demo left." >&2
    exit 1
  fi
elif [[ -z ${IN_CONTROL_PLANE:-} ]]; then
  control_plane=$(crates/test-control-plane/build.sh control-plane --find)
  if [[ -n $control_plane ]]; then
    echo "The demo builds $programs. $control_plane"
  else
    echo "The demo builds etcd, kube-apiserver and kubectl (about 5 minutes on two cores, once), and $programs." \
      "DEMO_KUBECONFIG=FILE make demo uses a cluster instead."
    crates/test-control-plane/build.sh control-plane
  fi
fi

if [[ -z ${IN_CONTROL_PLANE:-} ]]; then
  packages=(--package approval-operator --package local-codepipeline)
  [[ -n ${DEMO_KUBECONFIG:-} ]] || packages+=(--package test-control-plane)
  cargo build --quiet "${packages[@]}"
fi
PATH=$(cd "${CARGO_TARGET_DIR:-target}/debug" && pwd):$PATH

if [[ -z ${DEMO_KUBECONFIG:-}${IN_CONTROL_PLANE:-} ]]; then
  echo "Starting etcd and kube-apiserver (about 4 s)"
  exec test-control-plane run -- env IN_CONTROL_PLANE=yes "$PWD/hack/demo.sh"
fi

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

folder=$(mktemp --directory) created=()
clean_up() {
  local status=$? object
  trap '' INT TERM
  jobs -p | xargs --no-run-if-empty kill 2>/dev/null || true
  if [[ -n ${DEMO_KUBECONFIG:-} && ${#created[@]} -gt 0 ]]; then
    say "Remove what the demo created"
    for object in "${created[@]}"; do
      run kubectl delete --ignore-not-found --timeout=60s "$object" || status=1
    done
    run kubectl --namespace default delete --ignore-not-found "rolebinding/$cluster_role" "role/$cluster_role" || status=1
  fi
  rm -r "$folder"
  exit "$status"
}
trap clean_up EXIT

# kubectl does not get these variables: its kubeconfig may name a program that needs real ones, as on EKS.
local-codepipeline() { AWS_ENDPOINT_URL=$endpoint command local-codepipeline "$@"; }

# The role of the target, which trusts the operator's account.
account=$(sed -n 's/  accountId: "\(.*\)"/\1/p' examples/targets/target.yaml)
region=$(sed -n 's/  region: //p' examples/targets/target.yaml)
cat >"$folder/seed.yaml" <<END
roles:
  - arn: $(sed -n 's/  roleArn: //p' examples/targets/target.yaml)
    externalId: $(sed -n 's/  externalId: //p' examples/targets/target.yaml)
    trusts: ["123456789012"]
END
# Seeded, so that the tokens and the execution ID are those in the manifests.
command local-codepipeline serve --address 127.0.0.1:0 --lags none --id-seed 1 --seed "$folder/seed.yaml" >"$folder/url" &
until [[ -s $folder/url ]]; do kill -0 $! && sleep 0.05; done
endpoint=$(<"$folder/url")

kubectl config view --raw --minify --flatten >"$folder/kubeconfig"
export KUBECONFIG=$folder/kubeconfig
kubectl config set-context --current --namespace "$namespace" >/dev/null

say "Install the CustomResourceDefinitions and, in a namespace, the operator's RBAC; start the operator there"
created+=("${crds[@]}")
run kubectl create --filename crds/
run kubectl create namespace "$namespace"
created+=("namespace/$namespace" "clusterrolebinding/$cluster_role" "clusterrole/$cluster_role")
run kubectl create serviceaccount operator
# Targets are cluster-scoped, so their ClusterRole stays one.
rbac="/ApprovalTargets/,\$!s/ClusterRole/Role/; s/approval-operator-targets/$cluster_role/"
show "sed '$rbac' examples/operator-rbac.yaml | kubectl create --filename -"
sed "$rbac" examples/operator-rbac.yaml | kubectl create --filename -
run kubectl set subject rolebinding approval-operator --serviceaccount "$namespace:operator"
run kubectl set subject clusterrolebinding "$cluster_role" --serviceaccount "$namespace:operator"
# The Events of targets, which are cluster-scoped, are in the namespace default.
run kubectl --namespace default create role "$cluster_role" --verb create --resource events.events.k8s.io
run kubectl --namespace default create rolebinding "$cluster_role" --role "$cluster_role" \
  --serviceaccount "$namespace:operator"
kubectl wait --for=condition=Established "${crds[@]}" >/dev/null
cp "$folder/kubeconfig" "$folder/operator"
kubectl config set-credentials operator --token "$(kubectl create token operator)" --kubeconfig "$folder/operator" >/dev/null
kubectl config set-context --current --user operator --kubeconfig "$folder/operator" >/dev/null
show approval-operator run "--namespace=$namespace" --poll-interval=1s
KUBECONFIG=$folder/operator AWS_ENDPOINT_URL=$endpoint AWS_REGION=eu-west-1 AWS_ACCESS_KEY_ID=approval-operator \
  AWS_SECRET_ACCESS_KEY=secret approval-operator run "--namespace=$namespace" --poll-interval=1s --http-address=127.0.0.1:0 \
  2>"$folder/log" &

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

say "The pending approvals are settled; a decision waits for its commit"
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

say "A pipeline of the same name in another account: an ApprovalTarget says where it is, which identity the operator uses there, and who may use it"
run cat examples/targets/target.yaml
show "sed s/team-a/$namespace/ examples/targets/target.yaml | kubectl apply --filename -"
sed "s/team-a/$namespace/" examples/targets/target.yaml | kubectl apply --filename -
run kubectl wait apt production --for=condition=Ready --timeout=30s
start checkout --account "$account" --region "$region" --build-duration 2s \
  --revision "Source=$(sed -n 's/.*revisionId: //p' examples/targets/approve.yaml)"
run cat examples/targets/approve.yaml
run kubectl apply --filename examples/targets/approve.yaml
expect approve-in-production Delivered
run kubectl get apt --output wide
run kubectl get apd approve-in-production --output wide

say "The outcomes"
run kubectl get apd
run kubectl describe apd approve-checkout
say "The decision with the wrong token"
run kubectl describe apd wrong-token

say "The submissions that CodePipeline received; in the other account, the session of the role is named after the decision"
run local-codepipeline ledger | tee "$folder/ledger"
grep -q "$account .* $namespace.approve-in-production." "$folder/ledger" || fail "the session does not name the decision"
accepted=$(local-codepipeline ledger --json | grep -c '"accepted"') || true
[[ $accepted == 7 ]] || fail "CodePipeline accepted $accepted results, not 7 (six from the operator, one from bob)"

say "The operator's log; its only warning is about the wrong token"
cat "$folder/log"
! grep --quiet forbidden "$folder/log" || fail "the operator lacks a right"
say "Every decision has the expected outcome."
