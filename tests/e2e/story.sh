#!/usr/bin/env bash
# Installs the charts in the cluster of KUBECONFIG and does with them what their users will: decide, lose a replica, upgrade, drain
# a node, make mistakes, uninstall. Each function shows one property and says so in a line. run.sh starts it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH=${CARGO_TARGET_DIR:-$PWD/target}/image/local-codepipeline:$PATH
source tests/e2e/library.sh

image=${E2E_IMAGE:-} endpoint_image=${E2E_ENDPOINT_IMAGE:-local-codepipeline:e2e}
values=(
  --set config.pollInterval=1s --set config.awsTimeout=2s
  --set aws.region=eu-west-1 --set aws.endpointURL="http://local-codepipeline.$codepipeline.svc:4580"
  --set aws.credentialsSecretName=aws
)
if [[ -n $image ]]; then
  # HOST:PORT/PATH:TAG@DIGEST, of which all but the path may be missing.
  name=${image%@*}
  if [[ $image == *@* ]]; then values+=(--set "image.digest=${image#*@}"); fi
  if [[ ${name##*/} == *:* ]]; then values+=(--set-string "image.tag=${name##*:}") name=${name%:*}; fi
  values+=(--set "image.repository=$name")
fi

# The cluster may be someone's: what is there already is not touched, and what is made here goes in the end.
there=$(kubectl get --ignore-not-found --output name crd/approvaldecisions.codepipeline.approvals.dev \
  "namespace/$operator" "namespace/$codepipeline" "namespace/$team")
if [[ -n $there ]]; then
  echo "The cluster already has ${there//$'\n'/, }, which these tests would delete: use another cluster, or remove it if an earlier run left it." >&2
  exit 1
fi
folder=$(mktemp --directory) cordoned=
clear_away() {
  local status=$?
  touch "$folder/stop"
  [[ -z $cordoned ]] || kubectl uncordon "$cordoned" >/dev/null || true
  jobs -p | xargs --no-run-if-empty kill 2>/dev/null || true
  if [[ -z ${NODE_FOLDER:-} ]]; then
    helm uninstall "$release" --namespace "$operator" --ignore-not-found >/dev/null || true
    helm uninstall "$release-crds" --namespace "$operator" --ignore-not-found >/dev/null || true
    kubectl delete crd approvaldecisions.codepipeline.approvals.dev --ignore-not-found >/dev/null || true
    kubectl delete namespace "$operator" "$codepipeline" "$team" --ignore-not-found >/dev/null || true
  fi
  rm -r "$folder"
  exit "$status"
}
trap clear_away EXIT
kubectl config view --raw --minify --flatten >"$folder/kubeconfig"
export KUBECONFIG=$folder/kubeconfig
kubectl config set-context --current --namespace "$team" >/dev/null

everything() { # what there is in the operator's namespace, and in the cluster of the operator's release
  {
    kubectl get "$(kubectl api-resources --verbs=list --namespaced --output=name | grep --invert-match '^events' | paste --serial --delimiters=,)" \
      --namespace "$operator" --ignore-not-found --output name
    kubectl get "$(kubectl api-resources --verbs=list --namespaced=false --output=name | paste --serial --delimiters=,)" \
      --selector "app.kubernetes.io/instance=$release" --ignore-not-found --output name
  } 2>/dev/null | sort
}

a_codepipeline_is_there() {
  local namespace
  for namespace in "$operator" "$codepipeline" "$team"; do
    kubectl create namespace "$namespace" >/dev/null
    kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted >/dev/null
  done
  kubectl create secret generic aws --namespace "$operator" \
    --from-literal=AWS_ACCESS_KEY_ID=approval-operator --from-literal=AWS_SECRET_ACCESS_KEY=secret >/dev/null
  sed "s|local-codepipeline:e2e|$endpoint_image|" tests/e2e/endpoint.yaml | kubectl apply --namespace "$codepipeline" --filename - >/dev/null
  kubectl rollout status deployment/local-codepipeline --namespace "$codepipeline" --timeout=60s >/dev/null || fail "CodePipeline does not start"
  connect
}

both_charts_are_installed_and_pass_their_test() {
  kubectl wait --for=create serviceaccount/default configmap/kube-root-ca.crt --namespace "$operator" --timeout=30s >/dev/null
  everything >"$folder/before"
  helm install "$release-crds" charts/approval-operator-crds --namespace "$operator" >/dev/null
  helm install "$release" charts/approval-operator --namespace "$operator" "${values[@]}" --wait --timeout 60s >/dev/null ||
    fail "the chart is not installed"
  replicas_are_ready 2
  helm test "$release" --namespace "$operator" --timeout 60s >"$folder/test" 2>&1 || fail "helm test failed: $(<"$folder/test")"
  shown "two replicas are ready under the restricted Pod Security Standard, and helm test passes"
}

decisions_come_out_as_in_the_demo() {
  local commit accepted
  local-codepipeline open-approval checkout Prod Approve >/dev/null
  local-codepipeline open-approval payments Prod Approve >/dev/null
  local-codepipeline open-approval search Prod Approve >/dev/null
  local-codepipeline open-approval invoices Prod Approve >/dev/null
  local-codepipeline answer invoices Prod Approve --status Approved --summary fine --as bob >/dev/null 2>&1
  local-codepipeline start-run catalog Prod Approve --build-takes 4s >/dev/null
  for manifest in wait-for-execution wait-for-revision approve reject wrong-token already-decided; do
    kubectl apply --filename "examples/$manifest.yaml" >/dev/null
  done
  expect approve-checkout Delivered
  expect reject-payments Delivered
  expect wrong-token InvalidApprovalToken
  expect already-decided AlreadyDecided
  expect wait-for-revision Waiting
  commit=$(sed -n 's/.*revisionId: //p' examples/wait-for-revision.yaml)
  local-codepipeline start-run catalog Prod Approve --revision "Source=$commit" >/dev/null
  expect wait-for-revision Delivered
  expect wait-for-execution Delivered
  accepted=$(ledger | jq '[.[] | select(.outcome.accepted)] | length')
  [[ $accepted == 5 ]] || fail "CodePipeline accepted $accepted answers, not 5 (the operator's four, and bob's)"
  shown "pending approvals are answered, two runs are waited for, and what cannot be answered says why"
}

a_crashed_leader_is_followed() {
  local crashes=2 crash leader
  start_stream crash
  stream_goes_on 10
  for ((crash = 1; crash <= crashes; crash++)); do
    cut_off_an_answer
    leader=$(leader)
    crash "$leader"
    leadership_passes_on "$leader"
    stream_goes_on 15
    replicas_are_ready 2
  done
  end_stream
  what_was_cut_off_is_read_from_the_record crash
  jq --exit-status --null-input "$pause < 15" >/dev/null || fail "for $pause s nothing was answered"
  shown "the leader's pod is gone $crashes times in the middle of an answer, and another leads: $made decisions are accepted once each," \
    "the longest pause is $pause s"
}

# Its identity is the pod's name, so that the Lease is still its own.
a_crashed_container_goes_on() {
  local leader
  if [[ -z ${NODE_FOLDER:-} ]]; then
    shown "not shown: a crash of the leader's container alone, which takes access to its node"
    return
  fi
  start_stream restart
  stream_goes_on 10
  cut_off_an_answer
  leader=$(leader)
  signal SIGKILL "$(container "$leader")"
  stream_goes_on 15
  end_stream
  what_was_cut_off_is_read_from_the_record restart
  kubectl wait pod "$leader" --namespace "$operator" --for=jsonpath='{.status.containerStatuses[0].restartCount}'=1 --timeout=30s >/dev/null ||
    fail "the container that was killed has not been restarted"
  jq --exit-status --null-input "$pause < 15" >/dev/null || fail "for $pause s nothing was answered"
  replicas_are_ready 2
  shown "the leader's container is killed in the middle of an answer, and restarted: $made decisions are accepted once each," \
    "the longest pause is $pause s"
}

a_rolling_upgrade_loses_nothing() {
  start_stream upgrade
  stream_goes_on 10
  helm upgrade "$release" charts/approval-operator --namespace "$operator" --reuse-values --set config.pollInterval=2s \
    --wait --timeout 90s >/dev/null || fail "the upgrade does not come to an end"
  [[ $(kubectl get pods --namespace "$operator" --selector app.kubernetes.io/component=operator \
    --field-selector status.phase=Running --output json | jq '[.items[].spec.containers[].args | index("--poll-interval=2s")] | all') == true ]] ||
    fail "replicas from before the upgrade still run"
  stream_goes_on 10
  end_stream
  # To take the Lease of a leader that has not given it back takes 6 s. That it is less than 2 is for the number to show: machines
  # are slow now and then.
  jq --exit-status --null-input "$pause < 4" >/dev/null || fail "for $pause s nothing was answered"
  shown "helm upgrade replaces both replicas: $made decisions are accepted once each, the longest pause is $pause s"
}

a_drain_leaves_one_replica() {
  local node
  node=$(kubectl get nodes --output name)
  if [[ $(wc --lines <<<"$node") != 1 ]]; then
    shown "not shown: a drain against the PodDisruptionBudget, which takes a cluster of one node"
    return
  fi
  kubectl wait poddisruptionbudget "$release" --namespace "$operator" --for=jsonpath='{.status.disruptionsAllowed}'=1 --timeout=30s >/dev/null ||
    fail "the PodDisruptionBudget allows no disruption, though two replicas are ready"
  cordoned=$node
  refused "violate the pod's disruption budget" \
    kubectl drain "$node" --pod-selector app.kubernetes.io/component=operator --timeout=8s
  replicas_are_ready 1
  decide drained
  expect drained Delivered
  kubectl uncordon "$node" >/dev/null
  cordoned=
  replicas_are_ready 2
  shown "a drain evicts one replica and is refused the other, which goes on answering"
}

# Shown with two servers on a port that the policy does not name: one that it selects, as it does the operator's pods, and one that it does
# not. All that the operator did before, it did under this policy.
only_what_the_network_policy_names_comes_through() {
  local labels
  if [[ -z ${NODE_FOLDER:-} ]]; then
    shown "not shown: the NetworkPolicy, which not every cluster enforces"
    return
  fi
  mapfile -t labels < <(kubectl get networkpolicy "$release" --namespace "$operator" --output json |
    jq --raw-output '.spec.podSelector.matchLabels | to_entries[] | "\(.key)=\(.value)"')
  server selected "$operator" "${labels[@]}"
  server other "$codepipeline" e2e=other
  calls "$codepipeline" deployment/local-codepipeline "$(address other "$codepipeline"):4581" || fail "a pod without a policy cannot be called"
  calls "$operator" pod/selected "local-codepipeline.$codepipeline.svc:4580" || fail "the policy keeps the operator from its endpoint"
  calls_no_more "$operator" pod/selected "$(address other "$codepipeline"):4581"
  calls_no_more "$codepipeline" deployment/local-codepipeline "$(address selected "$operator"):4581"
  kubectl delete pod selected --namespace "$operator" --grace-period=1 >/dev/null
  shown "the NetworkPolicy keeps the operator's pods from ports that it does not name, and others from theirs"
}

a_wrong_value_is_refused() {
  refused "replicaCount" helm upgrade "$release" charts/approval-operator --namespace "$operator" --reuse-values --set replicaCount=two
  refused "pollIntervall" helm upgrade "$release" charts/approval-operator --namespace "$operator" --reuse-values --set config.pollIntervall=1s
  shown "helm upgrade refuses a value of the wrong type and a name that is none"
}

only_those_decide_who_may_approve() {
  local token person
  token=$(local-codepipeline open-approval policy Prod Approve)
  for person in alice bob; do
    kubectl create rolebinding "$person-edits" --clusterrole=edit --user="$person" >/dev/null
    kubectl create rolebinding "$person-decides" --clusterrole="$release-author" --user="$person" >/dev/null
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
  kubectl apply --as=bob --filename "$folder/policy.yaml" >/dev/null || fail "bob may not approve, who has the verb"
  expect policy Delivered
  shown "who may edit and write decisions is refused without the verb approve on the pipeline, and passes with it"
}

nothing_is_left_but_the_decisions() {
  local before after difference
  before=$(kubectl get apd --all-namespaces --no-headers | wc --lines)
  helm uninstall "$release" --namespace "$operator" --wait --timeout 60s >/dev/null
  helm uninstall "$release-crds" --namespace "$operator" --wait --timeout 60s >/dev/null 2>&1
  kubectl wait pod --for=delete --all --namespace "$operator" --timeout=60s >/dev/null
  after=$(kubectl get apd --all-namespaces --no-headers | wc --lines)
  [[ $before == "$after" ]] || fail "of $before decisions $after are left"
  # The Lease is the replicas' and not the chart's: it runs out.
  difference=$(diff <(sort "$folder/before" - <<<"lease.coordination.k8s.io/$release") <(everything)) ||
    fail "of what was there before and the Lease, less (<) is left, or more (>): $difference"
  shown "helm uninstall of both leaves the CustomResourceDefinition, all $after decisions and the Lease, nothing else"
}

a_codepipeline_is_there
both_charts_are_installed_and_pass_their_test
decisions_come_out_as_in_the_demo
a_crashed_leader_is_followed
a_crashed_container_goes_on
a_rolling_upgrade_loses_nothing
a_drain_leaves_one_replica
only_what_the_network_policy_names_comes_through
a_wrong_value_is_refused
only_those_decide_who_may_approve
nothing_is_left_but_the_decisions
