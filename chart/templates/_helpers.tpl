{{/*
Names and labels. What other charts may include is in _public.tpl.
*/}}

{{- define "evenkeel.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/*
The release is the application, so its name is that of the resources. With nameOverride it is
what `helm create` makes of it, so that other charts, whose names are made so, agree with it.
*/}}
{{- define "evenkeel.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if and .Values.nameOverride (not (contains .Values.nameOverride .Release.Name)) }}
{{- printf "%s-%s" .Release.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* The headless Service's name, in the 63 characters that a Service's name may have. */}}
{{- define "evenkeel.headlessName" -}}
{{- printf "%s-headless" (include "evenkeel.fullname" . | trunc 54 | trimSuffix "-") }}
{{- end }}

{{- define "evenkeel.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "evenkeel.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "evenkeel.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "evenkeel.selectorLabels" -}}
app.kubernetes.io/name: {{ include "evenkeel.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "evenkeel.labels" -}}
helm.sh/chart: {{ include "evenkeel.chart" . }}
{{ include "evenkeel.selectorLabels" . }}
{{- with .Chart.AppVersion }}
app.kubernetes.io/version: {{ . | quote }}
{{- end }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* metadata of a resource: (list CONTEXT NAME [ANNOTATIONS]). */}}
{{- define "evenkeel.metadata" -}}
{{- $ctx := index . 0 -}}
name: {{ index . 1 }}
namespace: {{ $ctx.Release.Namespace }}
labels:
  {{- include "evenkeel.labels" $ctx | nindent 2 }}
{{- $own := dict }}
{{- if gt (len .) 2 }}{{ $own = index . 2 }}{{ end }}
{{- with merge (dict) $own $ctx.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "evenkeel.image" -}}
{{- with .Values.image -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ with .digest }}@{{ . }}{{ end }}
{{- end }}
{{- end }}

{{/* Where things are mounted: directories, since a file mounted by subPath never changes. */}}
{{- define "evenkeel.configDir" -}}/etc/evenkeel{{- end }}
{{- define "evenkeel.peersTLSDir" -}}/etc/evenkeel-peers-tls{{- end }}
{{- define "evenkeel.grpcTLSDir" -}}/etc/grpc-tls{{- end }}

{{- define "evenkeel.saltSecret" -}}
{{- if .Values.peersSalt.existingSecret }}
{{- .Values.peersSalt.existingSecret }}
{{- else if .Values.peersSalt.create }}
{{- printf "%s-salt" (include "evenkeel.fullname" . | trunc 58 | trimSuffix "-") }}
{{- end }}
{{- end }}

{{/* Not empty where the source of peers needs the API server. */}}
{{- define "evenkeel.needsToken" -}}
{{- if and (eq .Values.evenkeel.peers.source "kubernetes") (not .Values.evenkeel.peers.kubernetes.kubeconfig) -}}
true
{{- end }}
{{- end }}

{{- define "evenkeel.automountToken" -}}
{{- if kindIs "bool" .Values.serviceAccount.automountToken }}
{{- .Values.serviceAccount.automountToken }}
{{- else }}
{{- ternary "true" "false" (not (empty (include "evenkeel.needsToken" .))) }}
{{- end }}
{{- end }}

{{/* HTTP or HTTPS: the health port's scheme. */}}
{{- define "evenkeel.healthScheme" -}}
{{- ternary "HTTPS" "HTTP" (or (not (empty .Values.peersTLS.secretName)) (not (empty .Values.evenkeel.peers.tls.cert))) }}
{{- end }}

{{/* Whole seconds of a duration as Go writes it, rounded up. */}}
{{- define "evenkeel.seconds" -}}
{{- $units := dict "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 0.001 "us" 0.000001 "µs" 0.000001 "ns" 0.000000001 }}
{{- $sum := 0.0 }}
{{- range regexFindAll "[0-9]*\\.?[0-9]+(h|ms|us|µs|ns|m|s)" (toString .) -1 }}
{{- $unit := regexFind "[^0-9.]+" . }}
{{- $sum = addf $sum (mulf (trimSuffix $unit . | float64) (get $units $unit)) }}
{{- end }}
{{- ceil $sum | int }}
{{- end }}

{{/*
terminationGracePeriodSeconds: what is set, or what fits. The kubelet's clock starts before
preStop, and kills whatever is still there when it is over.
*/}}
{{- define "evenkeel.graceSeconds" -}}
{{- $sleep := int .Values.preStop.sleepSeconds }}
{{- $timeout := default "30s" .Values.evenkeel.shutdown.timeout }}
{{- $needed := add $sleep (include "evenkeel.seconds" $timeout | int) }}
{{- $set := .Values.terminationGracePeriodSeconds }}
{{- if kindIs "invalid" $set }}
{{- add $needed 5 }}
{{- else if le (int $set) (int $needed) }}
{{- fail (printf "terminationGracePeriodSeconds: %d is too short, the kubelet would kill pods that still finish RPCs: preStop.sleepSeconds %d and evenkeel.shutdown.timeout %v need at least %d; or leave it empty to have it reckoned" (int $set) $sleep $timeout (add1 $needed)) }}
{{- else }}
{{- int $set }}
{{- end }}
{{- end }}
