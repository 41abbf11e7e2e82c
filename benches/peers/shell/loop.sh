#!/usr/bin/env bash
# Reconciles ApprovalDecisions with kubectl and the AWS CLI: records the intent, calls PutApprovalResult once, records the outcome.
# CONCURRENCY is the maximum number of decisions in flight. It writes no Events, because kubectl has no simple command for that.
set -euo pipefail

resource=approvaldecisions.codepipeline.approvals.dev
export AWS_MAX_ATTEMPTS=1 AWS_PAGER=

write_status() { # namespace, name, resourceVersion, status
  kubectl patch "$resource" "$2" --namespace "$1" --subresource=status --type=merge --output='jsonpath={.metadata.resourceVersion}' \
    --patch "{\"metadata\":{\"resourceVersion\":\"$3\"},\"status\":$4}"
}

condition() { # type, status, reason, message, generation
  printf '{"type":"%s","status":"%s","reason":"%s","message":"%s","observedGeneration":%s,"lastTransitionTime":"%s"}' \
    "$@" "$(date -u +%FT%TZ)"
}

reconcile() { # namespace, name, resourceVersion, generation, pipeline, stage, action, token, result, summary
  local namespace=$1 name=$2 version=$3 generation=$4 result=$9 started_at deadline approved_at
  started_at=$(date -u +%FT%T.%6NZ)
  deadline=$(date -u -d '+20 seconds' +%FT%T.%6NZ)
  # The write includes the resourceVersion, so that a stale object causes a conflict before the call.
  version=$(write_status "$namespace" "$name" "$version" "{\"observedGeneration\":$generation,
    \"submission\":{\"attempts\":1,\"startTime\":\"$started_at\",\"deadline\":\"$deadline\",\"token\":\"$8\"},\"conditions\":[
    $(condition Ready Unknown Submitting "Attempt 1 to submit $result is in flight" "$generation"),
    $(condition Reconciling True Submitting "Submitting the result" "$generation")]}")
  approved_at=$(aws codepipeline put-approval-result --pipeline-name "$5" --stage-name "$6" --action-name "$7" --token "$8" \
    --result "{\"status\":\"$result\",\"summary\":\"${10}\"}" --cli-read-timeout 10 --query approvedAt --output text)
  # The CLI prints the time as seconds since 1970.
  approved_at=$(date -u -d "@$approved_at" +%FT%T.%6NZ)
  write_status "$namespace" "$name" "$version" "{\"approvedAt\":\"$approved_at\",\"conditions\":[
    $(condition Ready True Delivered "CodePipeline accepted the result $result at $approved_at" "$generation")]}" >/dev/null
  echo "$namespace/$name delivered at $approved_at"
}
export resource
export -f write_status condition reconcile

columns='{{range .items}}{{if not .status.submission}}{{.metadata.namespace}}{{"\t"}}{{.metadata.name}}{{"\t"}}'
columns+='{{.metadata.resourceVersion}}{{"\t"}}{{.metadata.generation}}{{"\t"}}{{.spec.pipelineName}}{{"\t"}}{{.spec.stageName}}'
columns+='{{"\t"}}{{.spec.actionName}}{{"\t"}}{{.spec.token}}{{"\t"}}{{.spec.result.status}}{{"\t"}}{{.spec.result.summary}}'
columns+='{{"\n"}}{{end}}{{end}}'
while :; do
  kubectl get "$resource" --all-namespaces --output="go-template=$columns" |
    xargs --no-run-if-empty --delimiter='\n' --max-args=1 --max-procs="${CONCURRENCY:-1}" \
      bash -c 'set -euo pipefail; IFS=$'"'\t'"' read -r -a fields <<<"$1"; reconcile "${fields[@]}"' --
  sleep 1
done
