#!/usr/bin/env bash
# Answers ApprovalDecisions as a shell loop of kubectl and the AWS CLI would: intent, one call, result. CONCURRENCY is how many
# at a time. It writes no Events, for kubectl has no way to write one that is worth a line here.
set -euo pipefail

resource=approvaldecisions.codepipeline.approvals.dev
export AWS_MAX_ATTEMPTS=1 AWS_PAGER=

write() { # namespace, name, resourceVersion, status
  kubectl patch "$resource" "$2" --namespace "$1" --subresource=status --type=merge --output='jsonpath={.metadata.resourceVersion}' \
    --patch "{\"metadata\":{\"resourceVersion\":\"$3\"},\"status\":$4}"
}

condition() { # type, status, reason, message, generation
  printf '{"type":"%s","status":"%s","reason":"%s","message":"%s","observedGeneration":%s,"lastTransitionTime":"%s"}' \
    "$@" "$(date -u +%FT%TZ)"
}

decide() { # namespace, name, resourceVersion, generation, pipeline, stage, action, token, answer, summary
  local namespace=$1 name=$2 version=$3 generation=$4 answer=$9 begun deadline approved
  begun=$(date -u +%FT%T.%6NZ)
  deadline=$(date -u -d '+20 seconds' +%FT%T.%6NZ)
  # With its resourceVersion: whoever works from an older object is told by a conflict, before anything is sent.
  version=$(write "$namespace" "$name" "$version" "{\"observedGeneration\":$generation,
    \"submission\":{\"attempts\":1,\"startTime\":\"$begun\",\"deadline\":\"$deadline\",\"token\":\"$8\"},\"conditions\":[
    $(condition Ready Unknown Submitting "Attempt 1 at answering $answer is under way" "$generation"),
    $(condition Reconciling True Submitting "The answer is being sent" "$generation")]}")
  approved=$(aws codepipeline put-approval-result --pipeline-name "$5" --stage-name "$6" --action-name "$7" --token "$8" \
    --result "{\"status\":\"$answer\",\"summary\":\"${10}\"}" --cli-read-timeout 10 --query approvedAt --output text)
  # The CLI writes the service's time as it came: in seconds since 1970.
  approved=$(date -u -d "@$approved" +%FT%T.%6NZ)
  write "$namespace" "$name" "$version" "{\"approvedAt\":\"$approved\",\"conditions\":[
    $(condition Ready True Delivered "CodePipeline took the answer $answer at $approved" "$generation")]}" >/dev/null
  echo "$namespace/$name delivered at $approved"
}
export resource
export -f write condition decide

columns='{{range .items}}{{if not .status.submission}}{{.metadata.namespace}}{{"\t"}}{{.metadata.name}}{{"\t"}}'
columns+='{{.metadata.resourceVersion}}{{"\t"}}{{.metadata.generation}}{{"\t"}}{{.spec.pipelineName}}{{"\t"}}{{.spec.stageName}}'
columns+='{{"\t"}}{{.spec.actionName}}{{"\t"}}{{.spec.token}}{{"\t"}}{{.spec.result.status}}{{"\t"}}{{.spec.result.summary}}'
columns+='{{"\n"}}{{end}}{{end}}'
while :; do
  kubectl get "$resource" --all-namespaces --output="go-template=$columns" |
    xargs --no-run-if-empty --delimiter='\n' --max-args=1 --max-procs="${CONCURRENCY:-1}" \
      bash -c 'set -euo pipefail; IFS=$'"'\t'"' read -r -a fields <<<"$1"; decide "${fields[@]}"' --
  sleep 1
done
