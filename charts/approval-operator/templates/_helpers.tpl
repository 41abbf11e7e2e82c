{{- /*
Names, labels and other helpers that several templates share. Helpers are global across the charts of a release, so each name
starts with the name of this chart.
*/ -}}

{{- define "approval-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 50 characters, because names of Services are limited to 63, with suffixes. Services allow no dots, releases do. */ -}}
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

{{- define "approval-operator.standardLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "approval-operator.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: approval-operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- /* The standard labels and commonLabels, without the component, which some templates add. */ -}}
{{- define "approval-operator.labels" -}}
{{- $common := omit .Values.commonLabels "app.kubernetes.io/component" -}}
{{- merge (include "approval-operator.standardLabels" . | fromYaml) $common | toYaml -}}
{{- end -}}

{{- /* The component separates the operator's pods from the pod of `helm test`, which has the same name and instance. */ -}}
{{- define "approval-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "approval-operator.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{- /* global.imageRegistry replaces the registry of the repository: a first part with a dot or a port. */ -}}
{{- define "approval-operator.image" -}}
{{- $repository := .Values.image.repository -}}
{{- with (.Values.global | default dict).imageRegistry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) (regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $repository "") -}}
{{- end -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" $repository .digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Parent charts list the names of Secrets in global.imagePullSecrets, as strings or as objects. */ -}}
{{- define "approval-operator.imagePullSecrets" -}}
{{- $secrets := list -}}
{{- range concat ((.Values.global | default dict).imagePullSecrets | default list) .Values.imagePullSecrets -}}
{{- $secrets = append $secrets (kindIs "string" . | ternary (dict "name" .) .) -}}
{{- end -}}
{{- with uniq $secrets -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- /* The restricted Pod Security Standard. Only the IDs are configurable, so that no value can weaken it. */ -}}
{{- define "approval-operator.podSecurityContext" -}}
runAsNonRoot: true
{{- range $key := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- with get $.Values.podSecurityContext $key }}
{{ $key }}: {{ int . }}
{{- end }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "approval-operator.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- /* What the pods reach without a proxy, if there is one. The kubelet inserts the address of the API server. */ -}}
{{- define "approval-operator.noProxy" -}}
{{- $variables := list -}}
{{- range .Values.extraEnv -}}
{{- $variables = append $variables (upper .name) -}}
{{- end -}}
{{- $hasProxy := or .Values.proxy.httpsProxy .Values.proxy.httpProxy (has "HTTPS_PROXY" $variables) (has "HTTP_PROXY" $variables) -}}
{{- if and $hasProxy (not (has "NO_PROXY" $variables)) -}}
{{- compact (list "$(KUBERNETES_SERVICE_HOST)" .Values.proxy.noProxy) | join "," -}}
{{- end -}}
{{- end -}}

{{- /* To any address: the resolver may be a pod, the node or part of the VPC. The resolver of OpenShift listens on 5353. */ -}}
{{- define "approval-operator.dnsPorts" -}}
{{- range $port := list 53 5353 }}
- protocol: UDP
  port: {{ $port }}
- protocol: TCP
  port: {{ $port }}
{{- end }}
{{- end -}}

{{- /* The ports that the operator connects to: HTTPS for AWS, the API server, custom endpoints and proxies. */ -}}
{{- define "approval-operator.egressPorts" -}}
{{- $ports := concat (list 443) .Values.networkPolicy.apiServerPorts -}}
{{- with .Values.networkPolicy.proxyPort -}}
{{- $ports = append $ports . -}}
{{- end -}}
{{- $urls := list .Values.aws.endpointURL .Values.aws.stsEndpointURL .Values.proxy.httpsProxy .Values.proxy.httpProxy .Values.tracing.otlpEndpoint -}}
{{- range $url := compact $urls -}}
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

{{- /* Rejects combinations of values that the schema cannot express. */ -}}
{{- define "approval-operator.validate" -}}
{{- if and (gt (int .Values.replicaCount) 1) (not .Values.leaderElection.enabled) -}}
{{- fail (printf "replicaCount is %v and leaderElection.enabled is false: all replicas would reconcile at the same time. Enable leaderElection, or set replicaCount to 1." .Values.replicaCount) -}}
{{- end -}}
{{- if not (or .Values.approvalTargets.enabled .Values.aws.ambientCredentials) -}}
{{- fail "approvalTargets.enabled and aws.ambientCredentials are both false: no decision could be delivered. Set one of them to true." -}}
{{- end -}}
{{- if not (or .Values.serviceAccount.create .Values.serviceAccount.name) -}}
{{- fail "serviceAccount.create is false and serviceAccount.name is empty: name the ServiceAccount of the operator." -}}
{{- end -}}
{{- /* Includes the program's default timeout, which check.sh compares with docs/reference.md. */ -}}
{{- with .Values.config.awsTimeout | default "10s" -}}
{{- $start := toDate "2006-01-02" "2000-01-01" -}}
{{- $seconds := sub (dateModify . $start | unixEpoch) (unixEpoch $start) -}}
{{- if lt (int $.Values.terminationGracePeriodSeconds) (int (add $seconds 5)) -}}
{{- fail (printf "terminationGracePeriodSeconds is %v and config.awsTimeout is %s: a submission in flight would be interrupted. Set terminationGracePeriodSeconds to %d or more." $.Values.terminationGracePeriodSeconds . (add $seconds 5)) -}}
{{- end -}}
{{- end -}}
{{- /* A flag that bypasses its value would contradict the other templates that use the value. */ -}}
{{- $values := dict "namespace" "watchNamespaces" "leader-elect" "leaderElection.enabled" "approval-targets" "approvalTargets.enabled" "ambient-credentials" "aws.ambientCredentials" "aws-timeout" "config.awsTimeout" "aws-sts-region" "aws.stsRegion" "otlp-endpoint" "tracing.otlpEndpoint" -}}
{{- range $flag, $value := $values -}}
{{- range $.Values.extraArgs -}}
{{- if hasPrefix (printf "--%s" $flag) . -}}
{{- fail (printf "extraArgs has %s, which the other objects of the chart depend on. Set %s instead." . $value) -}}
{{- end -}}
{{- end -}}
{{- range $.Values.extraEnv -}}
{{- if hasPrefix (printf "APPROVAL_OPERATOR_%s" (upper $flag | replace "-" "_")) .name -}}
{{- fail (printf "extraEnv has %s, which the other objects of the chart depend on. Set %s instead." .name $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- /* Another port would break the probes and the Service. */ -}}
{{- range .Values.extraArgs -}}
{{- if and (hasPrefix "--http-address" .) (not (hasSuffix ":8080" .)) -}}
{{- fail (printf "extraArgs has %s: the probes, the Service and the NetworkPolicy are for port 8080. Keep the port, as in --http-address=0.0.0.0:8080." .) -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if eq .name "APPROVAL_OPERATOR_HTTP_ADDRESS" -}}
{{- fail "extraEnv has APPROVAL_OPERATOR_HTTP_ADDRESS: the probes, the Service and the NetworkPolicy are for port 8080. Set extraArgs with the same port instead, as in --http-address=0.0.0.0:8080." -}}
{{- end -}}
{{- end -}}
{{- with .Values.podDisruptionBudget -}}
{{- $unset := list "<nil>" "" -}}
{{- if not (or (has (toString .minAvailable) $unset) (has (toString .maxUnavailable) $unset)) -}}
{{- fail "podDisruptionBudget.minAvailable and podDisruptionBudget.maxUnavailable are both set: a PodDisruptionBudget has one of them. Set one to null." -}}
{{- end -}}
{{- end -}}
{{- end -}}
