{{/*
Templates that other charts may include. Each takes a context of this chart: in a chart that depends
on it, that is .Subcharts.evenkeel. Its values are those under `evenkeel:` in the other chart's
values, on top of this chart's defaults. README.md has an example.
*/}}

{{/*
evenkeel.configYAML is the server's configuration as a YAML tree. It has only the keys that differ
from the library's defaults, so that a server of another version knows as many of them as possible.
*/}}
{{- define "evenkeel.configYAML" -}}
{{- include "evenkeel.checkDurations" . }}
{{- include "evenkeel.checkShutdown" . }}
{{- $cfg := deepCopy .Values.evenkeel }}
{{- $peers := $cfg.peers }}
{{- if and (eq $peers.source "static") (not $peers.static) }}
{{- fail "evenkeel.peers.static: is empty, but evenkeel.peers.source is static and needs it; list the pods' addresses, or set another source" }}
{{- end }}
{{- if and (eq $peers.source "kubernetes") (not $peers.kubernetes.service) }}
{{- $_ := set $peers.kubernetes "service" (include "evenkeel.headlessName" .) }}
{{- end }}
{{- if and (eq $peers.source "dns") (not $peers.dns.name) }}
{{- $_ := set $peers.dns "name" (include "evenkeel.headlessDNS" .) }}
{{- end }}
{{- if include "evenkeel.peersTLSSecret" . }}
{{- $_ := set $peers.tls "serverName" (include "evenkeel.peersTLSName" .) }}
{{- $dir := include "evenkeel.peersTLSDir" . }}
{{- range $key, $file := dict "cert" "tls.crt" "key" "tls.key" "ca" "ca.crt" }}
{{- $_ := set $peers.tls $key (default (printf "%s/%s" $dir $file) (get $peers.tls $key)) }}
{{- end }}
{{- end }}
{{- include "evenkeel.dropDefaults" (list $cfg (fromYaml (include "evenkeel.libraryDefaults" .))) }}
{{- toYaml $cfg }}
{{- end }}

{{/* evenkeel.config is a ConfigMap with config.yaml. */}}
{{- define "evenkeel.config" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "evenkeel.metadata" (list . (include "evenkeel.fullname" .)) | nindent 2 }}
data:
  config.yaml: |
    {{- include "evenkeel.configYAML" . | nindent 4 }}
{{- end }}

{{/* evenkeel.env is a list of items for a container's env. */}}
{{- define "evenkeel.env" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
# The cluster copies this label from the node onto its pods, by default from Kubernetes 1.35 on.
- name: POD_ZONE
  valueFrom:
    fieldRef:
      fieldPath: metadata.labels['topology.kubernetes.io/zone']
# Pods of different revisions of a Deployment are being replaced.
- name: POD_REVISION
  valueFrom:
    fieldRef:
      fieldPath: metadata.labels['pod-template-hash']
{{- if (default dict .Values.killSwitch).configMap }}
- name: EVENKEEL_SWITCH
  value: {{ include "evenkeel.switchDir" . }}/{{ .Values.killSwitch.key }}
{{- end }}
{{- with include "evenkeel.saltSecret" . }}
- name: EVENKEEL_PEERS_SALT
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $.Values.peersSalt.key }}
{{- end }}
{{- end }}

{{/* evenkeel.volumes is a list of items for a pod's volumes. */}}
{{- define "evenkeel.volumes" -}}
- name: evenkeel-config
  configMap:
    name: {{ include "evenkeel.fullname" . }}
{{- with (default dict .Values.killSwitch).configMap }}
- name: evenkeel-switch
  configMap:
    name: {{ . }}
    optional: true
{{- end }}
{{- with include "evenkeel.peersTLSSecret" . }}
- name: evenkeel-peers-tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{/* evenkeel.volumeMounts is a list of items for a container's volumeMounts. */}}
{{- define "evenkeel.volumeMounts" -}}
- name: evenkeel-config
  mountPath: {{ include "evenkeel.configDir" . }}
  readOnly: true
{{- if (default dict .Values.killSwitch).configMap }}
- name: evenkeel-switch
  mountPath: {{ include "evenkeel.switchDir" . }}
  readOnly: true
{{- end }}
{{- if include "evenkeel.peersTLSSecret" . }}
- name: evenkeel-peers-tls
  mountPath: {{ include "evenkeel.peersTLSDir" . }}
  readOnly: true
{{- end }}
{{- end }}

{{/* evenkeel.configFile is the path of config.yaml in the container. */}}
{{- define "evenkeel.configFile" -}}
{{ include "evenkeel.configDir" . }}/config.yaml
{{- end }}

{{/* evenkeel.ports is a list of items for a container's ports. */}}
{{- define "evenkeel.ports" -}}
{{- include "evenkeel.checkPorts" . }}
- name: grpc
  containerPort: {{ .Values.grpc.port }}
  protocol: TCP
- name: {{ include "evenkeel.portName" . }}
  containerPort: {{ .Values.http.port }}
  protocol: TCP
{{- with include "evenkeel.peersPort" . }}
- name: peers
  containerPort: {{ . }}
  protocol: TCP
{{- end }}
{{- end }}

{{/* evenkeel.probes renders the startup, readiness and liveness probes of a container. */}}
{{- define "evenkeel.probes" -}}
{{- $port := include "evenkeel.portName" . }}
{{- $scheme := include "evenkeel.healthScheme" . }}
{{- with .Values.probes }}
startupProbe:
  httpGet:
    path: /livez
    port: {{ $port }}
    scheme: {{ $scheme }}
  periodSeconds: 1
  failureThreshold: {{ .startupSeconds }}
  timeoutSeconds: {{ default 1 .startupTimeoutSeconds }}
readinessProbe:
  {{- if .customReadiness }}
  {{- toYaml .customReadiness | nindent 2 }}
  {{- else }}
  {{- $tls := not (empty $.Values.grpc.tls.secretName) }}
  {{- if and $tls (eq .readiness "grpc") }}
  {{- fail "probes.readiness: cannot be grpc with grpc.tls.secretName, because the kubelet's gRPC probe does not support TLS and no pod would ever be ready; leave it empty, or set it to http" }}
  {{- end }}
  {{- if eq (default (ternary "http" "grpc" $tls) .readiness) "grpc" }}
  grpc:
    port: {{ $.Values.grpc.port }}
  {{- else }}
  httpGet:
    path: /readyz
    port: {{ $port }}
    scheme: {{ $scheme }}
  {{- end }}
  periodSeconds: {{ .readinessPeriodSeconds }}
  failureThreshold: {{ .readinessFailureThreshold }}
  timeoutSeconds: {{ default 1 .readinessTimeoutSeconds }}
  {{- end }}
livenessProbe:
  {{- if .customLiveness }}
  {{- toYaml .customLiveness | nindent 2 }}
  {{- else }}
  httpGet:
    path: /livez
    port: {{ $port }}
    scheme: {{ $scheme }}
  periodSeconds: {{ .livenessPeriodSeconds }}
  failureThreshold: {{ .livenessFailureThreshold }}
  timeoutSeconds: {{ default 5 .livenessTimeoutSeconds }}
  {{- end }}
{{- end }}
{{- end }}

{{/* evenkeel.lifecycle is the preStop sleep of a container, empty if preStop.sleepSeconds is 0. */}}
{{- define "evenkeel.lifecycle" -}}
{{- with int .Values.preStop.sleepSeconds }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ . }}
{{- end }}
{{- end }}

{{/* evenkeel.grace is terminationGracePeriodSeconds of a pod's spec. It fails if the user's value is too short. */}}
{{- define "evenkeel.grace" -}}
terminationGracePeriodSeconds: {{ include "evenkeel.graceSeconds" . }}
{{- end }}

{{/* evenkeel.headlessService is the Service by which pods find each other, and multi-homed clients find the pods. */}}
{{- define "evenkeel.headlessService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "evenkeel.metadata" (list . (include "evenkeel.headlessName" .) .Values.service.headlessAnnotations) | nindent 2 }}
spec:
  clusterIP: None
  # DNS must not list a pod that is not ready, because clients would connect to it.
  publishNotReadyAddresses: false
  {{- with .Values.service.trafficDistribution }}
  # So that the EndpointSlices that pods watch have the hints by which kube-proxy chooses.
  trafficDistribution: {{ . }}
  {{- end }}
  {{- with include "evenkeel.ipFamilies" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  selector:
    {{- include "evenkeel.selectorLabels" . | nindent 4 }}
  ports:
    # Numbers, because older versions of Kubernetes do not find the names of a sidecar's ports.
    - name: grpc
      port: {{ .Values.grpc.port }}
      targetPort: {{ .Values.grpc.port }}
    - name: {{ include "evenkeel.portName" . }}
      port: {{ .Values.http.port }}
      targetPort: {{ .Values.http.port }}
{{- end }}

{{- define "evenkeel.ipFamilies" -}}
{{- with .Values.service.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.service.ipFamilies }}
ipFamilies:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* evenkeel.serviceAccount is a ServiceAccount. The pod's own spec decides whether it mounts the token. */}}
{{- define "evenkeel.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "evenkeel.metadata" (list . (include "evenkeel.serviceAccountName" .) .Values.serviceAccount.annotations) | nindent 2 }}
automountServiceAccountToken: false
{{- end }}

{{/* evenkeel.rbac is the Role and RoleBinding for EndpointSlices, empty if the source of peers needs none. */}}
{{- define "evenkeel.rbac" -}}
{{- if include "evenkeel.needsToken" . }}
{{- $namespace := default .Release.Namespace .Values.evenkeel.peers.kubernetes.namespace }}
{{- $name := include "evenkeel.fullname" . }}
{{- if ne $namespace .Release.Namespace }}
{{- $name = printf "%s-%s" $name .Release.Namespace }}
{{- end -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  {{- include "evenkeel.roleMetadata" (list . $name $namespace) | nindent 2 }}
rules:
  - apiGroups: [discovery.k8s.io]
    resources: [endpointslices]
    verbs: [list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- include "evenkeel.roleMetadata" (list . $name $namespace) | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "evenkeel.serviceAccountName" . }}
    namespace: {{ .Release.Namespace }}
{{- end }}
{{- end }}

{{- define "evenkeel.roleMetadata" -}}
name: {{ index . 1 }}
namespace: {{ index . 2 }}
labels:
  {{- include "evenkeel.labels" (index . 0) | nindent 2 }}
{{- with (index . 0).Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
