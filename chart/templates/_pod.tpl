{{/*
Parts of the Deployment, for this chart only.
*/}}

{{/*
The selector's labels win, so that the selector finds the pod whatever labels the user sets. The
labels with versions are left out, because a new version of the chart alone must not replace pods.
*/}}
{{- define "evenkeel.podLabels" -}}
{{- toYaml (merge (fromYaml (include "evenkeel.selectorLabels" .)) .Values.podLabels .Values.commonLabels) }}
{{- end }}

{{/*
An annotation that changes with the salt of the user's Secret, so that an upgrade replaces pods
that have the old one. It has 16 bits: enough to notice a change, and too few to confirm a guess.
*/}}
{{- define "evenkeel.saltChecksum" -}}
{{- with .Values.peersSalt.existingSecret }}
{{- with get ((lookup "v1" "Secret" $.Release.Namespace .).data | default dict) $.Values.peersSalt.key }}
checksum/peers-salt: {{ . | sha256sum | trunc 4 | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/*
The number of pods. If an autoscaler or kubectl sets it, the current number is rendered again: the
API server would otherwise default a field that was set before and is missing now to 1.
*/}}
{{- define "evenkeel.replicas" -}}
{{- if not (or .Values.autoscaling.enabled (kindIs "invalid" .Values.replicaCount)) }}
{{- .Values.replicaCount }}
{{- else }}
{{- with lookup "apps/v1" "Deployment" .Release.Namespace (include "evenkeel.fullname" .) }}
{{- .spec.replicas }}
{{- end }}
{{- end }}
{{- end }}

{{- define "evenkeel.container" -}}
{{- include "evenkeel.checkEnv" . }}
image: {{ include "evenkeel.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.command }}
command:
  {{- toYaml . | nindent 2 }}
{{- end }}
args:
  {{- include "evenkeel.args" . | nindent 2 }}
env:
  {{- include "evenkeel.env" . | nindent 2 }}
  {{- with include "evenkeel.goMemoryLimit" . }}
  - name: GOMEMLIMIT
    value: {{ . | quote }}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  {{- include "evenkeel.ports" . | nindent 2 }}
  {{- if .Values.gateway.enabled }}
  - name: gateway
    containerPort: {{ .Values.gateway.port }}
    protocol: TCP
  {{- end }}
{{- include "evenkeel.probes" . }}
{{- include "evenkeel.lifecycle" . }}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  {{- include "evenkeel.volumeMounts" . | nindent 2 }}
  {{- if .Values.grpc.tls.secretName }}
  - name: grpc-tls
    mountPath: {{ include "evenkeel.grpcTLSDir" . }}
    readOnly: true
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The value of GOMEMLIMIT, empty if the user sets the variable or there is no limit. */}}
{{- define "evenkeel.goMemoryLimit" -}}
{{- $names := list }}
{{- range .Values.extraEnv }}{{ $names = append $names .name }}{{ end }}
{{- if not (has "GOMEMLIMIT" $names) }}
{{- include "evenkeel.memoryLimit" (list .Values.goMemoryLimit .Values.resources) }}
{{- end }}
{{- end }}

{{/* Go's memory limit: the user's, or else nine tenths of the container's. Arguments: (list LIMIT RESOURCES). */}}
{{- define "evenkeel.memoryLimit" -}}
{{- if index . 0 }}
{{- index . 0 }}
{{- else }}
{{- with dig "limits" "memory" "" (default dict (index . 1)) }}
{{- $text := kindIs "float64" . | ternary (printf "%d" (int64 .)) (toString .) }}
{{- $units := dict "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 }}
{{- $number := regexFind "^[0-9.]+" $text }}
{{- $unit := trimPrefix $number $text }}
{{- if and $number (hasKey $units $unit) }}
{{- mulf 0.9 (float64 $number) (get $units $unit) | floor | int64 }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "evenkeel.args" -}}
{{- if .Values.args }}
{{- toYaml .Values.args }}
{{- else -}}
- -grpc=:{{ .Values.grpc.port }}
- -http=:{{ .Values.http.port }}
- -config={{ include "evenkeel.configFile" . }}
{{- if .Values.gateway.enabled }}
- -gateway=:{{ .Values.gateway.port }}
{{- end }}
{{- if .Values.grpc.tls.secretName }}
{{- $dir := include "evenkeel.grpcTLSDir" . }}
- -tls-cert={{ $dir }}/tls.crt
- -tls-key={{ $dir }}/tls.key
{{- if .Values.grpc.tls.clientAuth }}
{{- if .Values.gateway.enabled }}
{{- fail "gateway.enabled: cannot be true with grpc.tls.clientAuth, because the gateway speaks plain HTTP and calls gRPC as the server itself: its caller needs no certificate; set one of the two to false" }}
{{- end }}
- -tls-client-ca={{ $dir }}/ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "evenkeel.scheduling" -}}
{{- range $key := list "priorityClassName" "runtimeClassName" "dnsPolicy" }}
{{- with get $.Values $key }}
{{ $key }}: {{ . }}
{{- end }}
{{- end }}
{{- range $key := list "dnsConfig" "nodeSelector" "affinity" "tolerations" }}
{{- with get $.Values $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
{{- range . }}
{{- $one := . }}
{{- if not (hasKey $one "labelSelector") }}
{{- $one = set (deepCopy $one) "labelSelector" (dict "matchLabels" (fromYaml (include "evenkeel.selectorLabels" $))) }}
{{- end }}
  - {{ toYaml $one | nindent 4 | trim }}
{{- end }}
{{- end }}
{{- end }}
