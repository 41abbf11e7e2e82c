#!/usr/bin/env bash
# Installs the charts in the cluster of KUBECONFIG and uses them as their users do: approve and reject, lose a replica, upgrade, drain
# a node, make mistakes, uninstall. Each function checks one property and reports it in one line. run.sh starts this script.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH=${CARGO_TARGET_DIR:-$PWD/target}/image/local-codepipeline:$PATH
source tests/e2e/library.sh

image=${E2E_IMAGE:-} endpoint_image=${E2E_ENDPOINT_IMAGE:-local-codepipeline:e2e}
values=(
  --set config.pollInterval=1s --set config.awsTimeout=2s
  --set aws.region=eu-west-1 --set aws.endpointURL="http://local-codepipeline.$codepipeline.svc:4580"
  --set aws.credentialsSecretName=aws
  --set "aws.stsEndpointURL=http://local-codepipeline.$codepipeline.svc:4580"
)
if [[ -n $image ]]; then
  # HOST:PORT/PATH:TAG@DIGEST, where everything except the path is optional.
  name=${image%@*}
  if [[ $image == *@* ]]; then values+=(--set "image.digest=${image#*@}"); fi
  if [[ ${name##*/} == *:* ]]; then values+=(--set-string "image.tag=${name##*:}") name=${name%:*}; fi
  values+=(--set "image.repository=$name")
fi

crds=(crd/approvaldecisions.codepipeline.approvals.dev crd/approvaltargets.codepipeline.approvals.dev)

# The cluster may be in use: existing objects are not changed, and all objects of the test are deleted at the end.
existing=$(kubectl get --ignore-not-found --output name "${crds[@]}" \
  "namespace/$operator" "namespace/$codepipeline" "namespace/$team")
if [[ -n $existing ]]; then
  echo "The cluster already has ${existing//$'\n'/, }, which these tests would delete." \
    "Use another cluster, or delete what an earlier test left." >&2
  exit 1
fi
folder=$(mktemp --directory) cordoned=''
clear_away() {
  local status=$?
  touch "$folder/stop"
  [[ -z $cordoned ]] || kubectl uncordon "$cordoned" >/dev/null || true
  jobs -p | xargs --no-run-if-empty kill 2>/dev/null || true
  if [[ -z ${NODE_FOLDER:-} ]]; then
    helm uninstall "$release" --namespace "$operator" --ignore-not-found >/dev/null || true
    helm uninstall "$release-crds" --namespace "$operator" --ignore-not-found >/dev/null || true
    kubectl delete "${crds[@]}" --ignore-not-found >/dev/null || true
    kubectl delete namespace "$operator" "$codepipeline" "$team" --ignore-not-found >/dev/null || true
  fi
  rm -r "$folder"
  exit "$status"
}
trap clear_away EXIT
kubectl config view --raw --minify --flatten >"$folder/kubeconfig"
export KUBECONFIG=$folder/kubeconfig
kubectl config set-context --current --namespace "$team" >/dev/null

list_objects() { # prints the objects in the operator's namespace, and the cluster-scoped objects of the release
  {
    kubectl get "$(kubectl api-resources --verbs=list --namespaced --output=name |
      grep --invert-match '^events' | paste --serial --delimiters=,)" \
      --namespace "$operator" --ignore-not-found --output name
    kubectl get "$(kubectl api-resources --verbs=list --namespaced=false --output=name | paste --serial --delimiters=,)" \
      --selector "app.kubernetes.io/instance=$release" --ignore-not-found --output name
  } 2>/dev/null | sort
}

deploy_codepipeline() {
  local namespace
  for namespace in "$operator" "$codepipeline" "$team"; do
    kubectl create namespace "$namespace" >/dev/null
    kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted >/dev/null
  done
  kubectl create secret generic aws --namespace "$operator" \
    --from-literal=AWS_ACCESS_KEY_ID=approval-operator --from-literal=AWS_SECRET_ACCESS_KEY=secret >/dev/null
  sed "s|local-codepipeline:e2e|$endpoint_image|" tests/e2e/endpoint.yaml |
    kubectl apply --namespace "$codepipeline" --filename - >/dev/null
  kubectl rollout status deployment/local-codepipeline --namespace "$codepipeline" --timeout=60s >/dev/null ||
    fail "CodePipeline does not start"
  connect
}

the_charts_install_and_helm_test_passes() {
  kubectl wait --for=create serviceaccount/default configmap/kube-root-ca.crt --namespace "$operator" --timeout=30s >/dev/null
  list_objects >"$folder/before"
  helm install "$release-crds" charts/approval-operator-crds --namespace "$operator" >/dev/null
  helm install "$release" charts/approval-operator --namespace "$operator" "${values[@]}" --wait --timeout 60s >/dev/null ||
    fail "helm install failed"
  await_ready_replicas 2
  helm test "$release" --namespace "$operator" --timeout 60s >"$folder/test" 2>&1 || fail "helm test failed: $(<"$folder/test")"
  passed "two replicas are ready under the restricted Pod Security Standard, and helm test passes"
}

the_decisions_of_the_demo_have_the_expected_outcomes() {
  local commit accepted
  local-codepipeline open-approval checkout Prod Approve >/dev/null
  local-codepipeline open-approval payments Prod Approve >/dev/null
  local-codepipeline open-approval search Prod Approve >/dev/null
  local-codepipeline open-approval invoices Prod Approve >/dev/null
  local-codepipeline respond invoices Prod Approve --status Approved --summary fine --as bob >/dev/null 2>&1
  local-codepipeline start-execution catalog Prod Approve --build-duration 4s >/dev/null
  for manifest in wait-for-execution wait-for-revision approve reject wrong-token already-decided; do
    kubectl apply --filename "examples/$manifest.yaml" >/dev/null
  done
  expect approve-checkout Delivered
  expect reject-payments Delivered
  expect wrong-token InvalidApprovalToken
  expect already-decided AlreadyDecided
  expect wait-for-revision Waiting
  commit=$(sed -n 's/.*revisionId: //p' examples/wait-for-revision.yaml)
  local-codepipeline start-execution catalog Prod Approve --revision "Source=$commit" >/dev/null
  expect wait-for-revision Delivered
  expect wait-for-execution Delivered
  accepted=$(ledger | jq '[.[] | select(.outcome.accepted)] | length')
  [[ $accepted == 5 ]] || fail "CodePipeline accepted $accepted results, not 5 (four from the operator, one from bob)"
  passed "decisions settle pending approvals, wait for two executions, and report why the others cannot be delivered"
}

another_replica_takes_over_from_a_crashed_leader() {
  local crashes=2 crash leader
  start_stream crash
  stream_continues 10
  for ((crash = 1; crash <= crashes; crash++)); do
    lose_a_response
    leader=$(leader)
    crash "$leader"
    await_new_leader "$leader"
    stream_continues 15
    await_ready_replicas 2
  done
  end_stream
  lost_responses_are_read_from_history crash
  jq --exit-status --null-input "$pause < 15" >/dev/null || fail "no result was accepted for $pause s"
  passed "the leader's pod is deleted $crashes times during a submission, and another replica takes over: $created decisions are each" \
    "accepted once, the longest pause is $pause s"
}

# The holder identity is the pod's name, so the restarted container still holds the Lease.
a_crashed_container_continues() {
  local leader
  if [[ -z ${NODE_FOLDER:-} ]]; then
    skipped "a crash of the leader's container, which needs access to its node"
    return
  fi
  start_stream restart
  stream_continues 10
  lose_a_response
  leader=$(leader)
  signal SIGKILL "$(container "$leader")"
  stream_continues 15
  end_stream
  lost_responses_are_read_from_history restart
  kubectl wait pod "$leader" --namespace "$operator" --timeout=30s \
    --for=jsonpath='{.status.containerStatuses[0].restartCount}'=1 >/dev/null ||
    fail "the killed container was not restarted"
  jq --exit-status --null-input "$pause < 15" >/dev/null || fail "no result was accepted for $pause s"
  await_ready_replicas 2
  passed "the leader's container is killed during a submission, and restarts: $created decisions are each accepted once," \
    "the longest pause is $pause s"
}

a_rolling_upgrade_loses_nothing() {
  start_stream upgrade
  stream_continues 10
  helm upgrade "$release" charts/approval-operator --namespace "$operator" --reuse-values --set config.pollInterval=2s \
    --wait --timeout 90s >/dev/null || fail "helm upgrade failed"
  [[ $(kubectl get pods --namespace "$operator" --selector app.kubernetes.io/component=operator \
    --field-selector status.phase=Running --output json |
    jq '[.items[].spec.containers[].args | index("--poll-interval=2s")] | all') == true ]] ||
    fail "replicas from before the upgrade are still running"
  stream_continues 10
  end_stream
  # Taking over a Lease that was not released takes 6 s. The pause is usually less than 2 s; the bound allows for slow machines.
  jq --exit-status --null-input "$pause < 4" >/dev/null || fail "no result was accepted for $pause s"
  passed "helm upgrade replaces both replicas: $created decisions are each accepted once, the longest pause is $pause s"
}

a_drain_keeps_one_replica() {
  local node
  node=$(kubectl get nodes --output name)
  if [[ $(wc --lines <<<"$node") != 1 ]]; then
    skipped "a drain against the PodDisruptionBudget, which needs a cluster with one node"
    return
  fi
  kubectl wait poddisruptionbudget "$release" --namespace "$operator" --timeout=30s \
    --for=jsonpath='{.status.disruptionsAllowed}'=1 >/dev/null ||
    fail "the PodDisruptionBudget allows no disruption although two replicas are ready"
  cordoned=$node
  refused "violate the pod's disruption budget" \
    kubectl drain "$node" --pod-selector app.kubernetes.io/component=operator --timeout=8s
  await_ready_replicas 1
  decide drained
  expect drained Delivered
  kubectl uncordon "$node" >/dev/null
  cordoned=
  await_ready_replicas 2
  passed "a drain evicts one replica but not the other, which continues to deliver"
}

# Two servers listen on a port that the policy does not allow: the policy selects one, as it selects the operator's pods, but not the
# other. In all scenarios above, the operator ran under this policy.
the_network_policy_blocks_other_connections() {
  local labels
  if [[ -z ${NODE_FOLDER:-} ]]; then
    skipped "the NetworkPolicy, which not every cluster enforces"
    return
  fi
  mapfile -t labels < <(kubectl get networkpolicy "$release" --namespace "$operator" --output json |
    jq --raw-output '.spec.podSelector.matchLabels | to_entries[] | "\(.key)=\(.value)"')
  server selected "$operator" "${labels[@]}"
  server other "$codepipeline" e2e=other
  can_connect "$codepipeline" deployment/local-codepipeline "$(address other "$codepipeline"):4581" ||
    fail "a connection to a pod without a policy fails"
  can_connect "$operator" pod/selected "local-codepipeline.$codepipeline.svc:4580" || fail "the policy blocks the operator's endpoint"
  cannot_connect "$operator" pod/selected "$(address other "$codepipeline"):4581"
  cannot_connect "$codepipeline" deployment/local-codepipeline "$(address selected "$operator"):4581"
  kubectl delete pod selected --namespace "$operator" --grace-period=1 >/dev/null
  passed "the NetworkPolicy blocks connections to other ports, from the operator's pods and to them"
}

invalid_values_are_rejected() {
  local upgrade=(helm upgrade "$release" charts/approval-operator --namespace "$operator" --reuse-values)
  refused "replicaCount" "${upgrade[@]}" --set replicaCount=two
  refused "pollIntervall" "${upgrade[@]}" --set config.pollIntervall=1s
  passed "helm upgrade rejects a value of the wrong type and an unknown value"
}

only_users_with_the_verb_approve_can_approve() {
  local token user
  token=$(local-codepipeline open-approval policy Prod Approve)
  for user in alice bob; do
    kubectl create rolebinding "$user-edits" --clusterrole=edit --user="$user" >/dev/null
    kubectl create rolebinding "$user-writes-decisions" --clusterrole="$release-author" --user="$user" >/dev/null
  done
  kubectl apply --filename - >/dev/null <<END
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: approve-policy}
rules:
  - {apiGroups: [codepipeline.approvals.dev], resources: [pipelines], resourceNames: [policy/Prod/Approve], verbs: [approve]}
END
  kubectl create rolebinding bob-approves --role=approve-policy --user=bob >/dev/null
  decision policy policy "$token" >"$folder/policy.yaml"
  refused "alice may not approve policy/Prod/Approve" kubectl apply --as=alice --filename "$folder/policy.yaml"
  kubectl apply --as=bob --filename "$folder/policy.yaml" >/dev/null || fail "bob cannot approve, although bob has the verb"
  expect policy Delivered
  passed "a user with the roles edit and author cannot approve without the verb approve on the pipeline, and can with it"
}

uninstalling_keeps_only_the_decisions() {
  local before after difference
  before=$(kubectl get apd --all-namespaces --no-headers | wc --lines)
  helm uninstall "$release" --namespace "$operator" --wait --timeout 60s >/dev/null
  helm uninstall "$release-crds" --namespace "$operator" --wait --timeout 60s >/dev/null 2>&1
  kubectl wait pod --for=delete --all --namespace "$operator" --timeout=60s >/dev/null
  after=$(kubectl get apd --all-namespaces --no-headers | wc --lines)
  [[ $before == "$after" ]] || fail "$after of $before decisions are left"
  kubectl get "${crds[@]}" >/dev/null || fail "a definition is missing"
  # The replicas create the Lease, not the chart. It expires.
  difference=$(diff <(sort "$folder/before" - <<<"lease.coordination.k8s.io/$release") <(list_objects)) ||
    fail "compared with the objects before and the Lease, these are missing (<) or left over (>): $difference"
  passed "helm uninstall of both charts keeps both definitions, all $after decisions and the Lease, and nothing else"
}

deploy_codepipeline
the_charts_install_and_helm_test_passes
the_decisions_of_the_demo_have_the_expected_outcomes
another_replica_takes_over_from_a_crashed_leader
a_crashed_container_continues
a_rolling_upgrade_loses_nothing
a_drain_keeps_one_replica
the_network_policy_blocks_other_connections
invalid_values_are_rejected
only_users_with_the_verb_approve_can_approve
uninstalling_keeps_only_the_decisions
