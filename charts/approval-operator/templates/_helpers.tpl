{{- /*
Names, labels and what several templates have in common. The other charts of a release do not see these: each begins with the
chart's name.
*/ -}}

{{- define "approval-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 50 characters: names of Services have 63, and dots, which names of releases may have, are none of them. */ -}}
{{- define "approval-operator.fullname" -}}
{{- $name := include "approval-operator.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | replace "." "-" | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | replace "." "-" | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "approval-operator.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "approval-operator.fullname" .) -}}
{{- end -}}

{{- define "approval-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "approval-operator.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: approval-operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- /* What tells the operator's pods from the pod of `helm test`, which has the same name and instance. */ -}}
{{- define "approval-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "approval-operator.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "approval-operator.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The restricted Pod Security Standard; nothing of it can be set, so that nothing weakens it. */ -}}
{{- define "approval-operator.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "approval-operator.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- /* The ports that the operator calls: HTTPS for AWS, the API server's, and those of endpoints of one's own. */ -}}
{{- define "approval-operator.egressPorts" -}}
{{- $ports := concat (list 443) .Values.networkPolicy.apiServerPorts -}}
{{- range $url := compact (list .Values.aws.endpointURL .Values.tracing.otlpEndpoint) -}}
{{- $parts := urlParse $url -}}
{{- $own := regexFind ":[0-9]+$" $parts.host | trimPrefix ":" -}}
{{- $ports = append $ports ($own | default (ternary 443 80 (eq $parts.scheme "https"))) -}}
{{- end -}}
{{- $rules := list -}}
{{- range $port := uniq (splitList " " (join " " $ports)) -}}
{{- $rules = append $rules (dict "protocol" "TCP" "port" (int $port)) -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end -}}

{{- /* What the schema cannot see: values that do not go together. */ -}}
{{- define "approval-operator.refuse" -}}
{{- if and (gt (int .Values.replicaCount) 1) (not .Values.leaderElection.enabled) -}}
{{- fail (printf "replicaCount is %v and leaderElection.enabled is false: the replicas would all act. Enable leaderElection, or set replicaCount to 1." .Values.replicaCount) -}}
{{- end -}}
{{- if not (or .Values.serviceAccount.create .Values.serviceAccount.name) -}}
{{- fail "serviceAccount.create is false and serviceAccount.name is empty: name the ServiceAccount that the operator is to run as." -}}
{{- end -}}
{{- /* The program's own timeout counts too; check.sh compares it with what docs/reference.md has. */ -}}
{{- with .Values.config.awsTimeout | default "10s" -}}
{{- $start := toDate "2006-01-02" "2000-01-01" -}}
{{- $seconds := sub (dateModify . $start | unixEpoch) (unixEpoch $start) -}}
{{- if lt (int $.Values.terminationGracePeriodSeconds) (int (add $seconds 5)) -}}
{{- fail (printf "terminationGracePeriodSeconds is %v and config.awsTimeout is %s: an answer under way would be cut off. Set terminationGracePeriodSeconds to %d or more." $.Values.terminationGracePeriodSeconds . (add $seconds 5)) -}}
{{- end -}}
{{- end -}}
{{- /* Set past its value, a flag differs from what other templates make of the value. */ -}}
{{- $values := dict "namespace" "watchNamespaces" "watch-label-selector" "watchLabelSelector" "leader-elect" "leaderElection.enabled" "aws-timeout" "config.awsTimeout" "otlp-endpoint" "tracing.otlpEndpoint" -}}
{{- range $flag, $value := $values -}}
{{- range $.Values.extraArgs -}}
{{- if hasPrefix (printf "--%s" $flag) . -}}
{{- fail (printf "extraArgs has %s, of which the rest of the chart would not know. Set %s instead." . $value) -}}
{{- end -}}
{{- end -}}
{{- range $.Values.extraEnv -}}
{{- if hasPrefix (printf "APPROVAL_OPERATOR_%s" (upper $flag | replace "-" "_")) .name -}}
{{- fail (printf "extraEnv has %s, of which the rest of the chart would not know. Set %s instead." .name $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- /* Another address may be needed, where pods have IPv6 only; another port would not be found. */ -}}
{{- range .Values.extraArgs -}}
{{- if and (hasPrefix "--http-address" .) (not (hasSuffix ":8080" .)) -}}
{{- fail (printf "extraArgs has %s: the probes, the Service and the NetworkPolicy are for port 8080. Keep it, as in --http-address=[::]:8080." .) -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if eq .name "APPROVAL_OPERATOR_HTTP_ADDRESS" -}}
{{- fail "extraEnv has APPROVAL_OPERATOR_HTTP_ADDRESS: the probes, the Service and the NetworkPolicy are for port 8080. Set extraArgs, as in --http-address=[::]:8080, which keeps it." -}}
{{- end -}}
{{- end -}}
{{- with .Values.podDisruptionBudget -}}
{{- $unset := list "<nil>" "" -}}
{{- if not (or (has (toString .minAvailable) $unset) (has (toString .maxUnavailable) $unset)) -}}
{{- fail "podDisruptionBudget.minAvailable and podDisruptionBudget.maxUnavailable are both set: a PodDisruptionBudget has one of them. Set the other to null." -}}
{{- end -}}
{{- end -}}
{{- end -}}
