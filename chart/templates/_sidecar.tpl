{{/*
Templates for charts of servers in any language, which stand behind the sidecar. Each takes a context
of this chart, as those of _public.tpl do. docs/sidecar.md has an example.
*/}}

{{/*
evenkeel.sidecar is the sidecar, an item of a pod's initContainers. The kubelet starts it before the
server, runs its preStop hook together with those of the other containers, and sends it SIGTERM when
they have ended.
*/}}
{{- define "evenkeel.sidecar" -}}
{{- include "evenkeel.checkSidecar" . }}
{{- $listen := printf "-listen=:%d" (int .Values.grpc.port) -}}
- name: evenkeel
  image: {{ include "evenkeel.sidecarImage" . | quote }}
  imagePullPolicy: {{ .Values.sidecar.image.pullPolicy }}
  restartPolicy: Always
  args:
    - {{ $listen }}
    - -upstream={{ .Values.sidecar.upstream }}
    - -http=:{{ .Values.http.port }}
    - -config={{ include "evenkeel.configFile" . }}
    {{- if .Values.sidecar.proxyProtocol }}
    - -proxy-protocol
    {{- end }}
    {{- if .Values.grpc.tls.secretName }}
    {{- $dir := include "evenkeel.grpcTLSDir" . }}
    - -tls-cert={{ $dir }}/tls.crt
    - -tls-key={{ $dir }}/tls.key
    {{- if .Values.grpc.tls.clientAuth }}
    - -tls-client-ca={{ $dir }}/ca.crt
    {{- end }}
    {{- end }}
    {{- with .Values.sidecar.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  env:
    {{- include "evenkeel.env" . | nindent 4 }}
    {{- with include "evenkeel.memoryLimit" (list .Values.sidecar.goMemoryLimit .Values.sidecar.resources) }}
    - name: GOMEMLIMIT
      value: {{ . | quote }}
    {{- end }}
  ports:
    {{- include "evenkeel.ports" . | nindent 4 }}
  {{- include "evenkeel.sidecarProbes" . | nindent 2 }}
  lifecycle:
    preStop:
      exec:
        # It drains all clients, while the server goes on: evenkeel.sidecarLifecycle.
        command: [/evenkeel-sidecar, -drain, "{{ $listen }}"]
  {{- with .Values.sidecar.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.sidecar.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    {{- include "evenkeel.volumeMounts" . | nindent 4 }}
    {{- if .Values.grpc.tls.secretName }}
    - name: evenkeel-grpc-tls
      mountPath: {{ include "evenkeel.grpcTLSDir" . }}
      readOnly: true
    {{- end }}
{{- end }}

{{/*
The probes of the sidecar. The server starts after the startup probe, so that it must not wait for the
server. Readiness does: the pod is ready when its server can be reached.
*/}}
{{- define "evenkeel.sidecarProbes" -}}
{{- $port := include "evenkeel.portName" . }}
{{- $scheme := include "evenkeel.healthScheme" . -}}
startupProbe:
  httpGet:
    path: /livez
    port: {{ $port }}
    scheme: {{ $scheme }}
  periodSeconds: 1
  failureThreshold: {{ .Values.probes.startupSeconds }}
  timeoutSeconds: {{ default 1 .Values.probes.startupTimeoutSeconds }}
readinessProbe:
  httpGet:
    path: /readyz
    port: {{ $port }}
    scheme: {{ $scheme }}
  periodSeconds: {{ .Values.probes.readinessPeriodSeconds }}
  failureThreshold: {{ .Values.probes.readinessFailureThreshold }}
  timeoutSeconds: {{ default 1 .Values.probes.readinessTimeoutSeconds }}
livenessProbe:
  httpGet:
    path: /livez
    port: {{ $port }}
    scheme: {{ $scheme }}
  periodSeconds: {{ .Values.probes.livenessPeriodSeconds }}
  failureThreshold: {{ .Values.probes.livenessFailureThreshold }}
  timeoutSeconds: {{ default 5 .Values.probes.livenessTimeoutSeconds }}
{{- end }}

{{- define "evenkeel.sidecarImage" -}}
{{- with .Values.sidecar.image -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ with .digest }}@{{ . }}{{ end }}
{{- end }}
{{- end }}

{{/* Refuses settings that the sidecar would refuse, and a server that would be the sidecar itself. */}}
{{- define "evenkeel.checkSidecar" -}}
{{- $upstream := toString .Values.sidecar.upstream }}
{{- $own := dict (toString .Values.grpc.port) "grpc.port" (toString .Values.http.port) "http.port" }}
{{- with include "evenkeel.peersPort" . }}{{ $_ := set $own . "evenkeel.peers.port" }}{{ end }}
{{- with get $own (regexFind "[0-9]+$" $upstream) }}
{{- if not (hasPrefix "unix:" $upstream) }}
{{- fail (printf "sidecar.upstream: %s is the port of %s, where the sidecar itself listens; let the server listen on another" $upstream .) }}
{{- end }}
{{- end }}
{{- $policy := .Values.evenkeel.policy }}
{{- range $key := list "maxConnectionIdle" "keepaliveTime" "keepaliveTimeout" "minClientPing" }}
{{- if gt (include "evenkeel.exactSeconds" (get $policy $key) | float64) 0.0 }}
{{- fail (printf "evenkeel.policy.%s: the sidecar passes PINGs on and cannot apply it; leave it at 0s, and set it in the server behind the sidecar" $key) }}
{{- end }}
{{- end }}
{{- if $policy.permitWithoutStream }}
{{- fail "evenkeel.policy.permitWithoutStream: the sidecar passes PINGs on and cannot apply it; leave it false, and set it in the server behind the sidecar" }}
{{- end }}
{{- end }}

{{/* evenkeel.sidecarVolumes is a list of items for the volumes of a pod with the sidecar. */}}
{{- define "evenkeel.sidecarVolumes" -}}
{{- include "evenkeel.volumes" . }}
{{- with .Values.grpc.tls.secretName }}
- name: evenkeel-grpc-tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{/*
evenkeel.sidecarLifecycle is the lifecycle of the server's container: it goes on while the sidecar
drains. A server without it would end its connections at once, and refuse clients that are still sent
to the pod.
*/}}
{{- define "evenkeel.sidecarLifecycle" -}}
lifecycle:
  preStop:
    sleep:
      seconds: {{ include "evenkeel.sidecarDrainSeconds" . }}
{{- end }}

{{/* The sidecar's drain ends half a second after shutdown.timeout, at the latest. */}}
{{- define "evenkeel.sidecarDrainSeconds" -}}
{{- include "evenkeel.checkShutdown" . }}
{{- add1 (include "evenkeel.seconds" (default "20s" .Values.evenkeel.shutdown.timeout) | int) }}
{{- end }}

{{/* evenkeel.sidecarGrace is terminationGracePeriodSeconds: the drain, then the server, then the sidecar. */}}
{{- define "evenkeel.sidecarGrace" -}}
terminationGracePeriodSeconds: {{ add (include "evenkeel.sidecarDrainSeconds" . | int) (int .Values.sidecar.serverStopSeconds) 5 }}
{{- end }}

{{/*
evenkeel.sidecarPod is everything that a pod's spec needs beside its containers: the sidecar, its
volumes, the ServiceAccount and the time to stop. A chart with init containers or volumes of its own
includes the parts instead.
*/}}
{{- define "evenkeel.sidecarPod" -}}
serviceAccountName: {{ include "evenkeel.serviceAccountName" . }}
automountServiceAccountToken: {{ include "evenkeel.automountToken" . }}
# Otherwise a Service with a name such as evenkeel-peers would set variables that look like settings.
enableServiceLinks: false
{{ include "evenkeel.sidecarGrace" . }}
initContainers:
  {{- include "evenkeel.sidecar" . | nindent 2 }}
volumes:
  {{- include "evenkeel.sidecarVolumes" . | nindent 2 }}
{{- end }}

{{/* evenkeel.resources is all manifests that pods with evenkeel need. */}}
{{- define "evenkeel.resources" -}}
{{ include "evenkeel.config" . }}
---
{{ include "evenkeel.headlessService" . }}
{{- if .Values.serviceAccount.create }}
---
{{ include "evenkeel.serviceAccount" . }}
{{- end }}
{{- with include "evenkeel.rbac" . }}
---
{{ . }}
{{- end }}
{{- end }}
