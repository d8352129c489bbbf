{{/*
Names and labels, for this chart only. Templates that other charts may include are in _public.tpl.
*/}}

{{- define "evenkeel.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/*
Resources are named after the release, because the release is the application. With nameOverride
the name follows `helm create`, so that it matches the names in charts that depend on this one.
*/}}
{{- define "evenkeel.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if and .Values.nameOverride (not (contains .Values.nameOverride .Release.Name)) }}
{{- printf "%s-%s" .Release.Name .Values.nameOverride | replace "." "-" | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- .Release.Name | replace "." "-" | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* The headless Service's name, cut to the 63 characters that a Service's name may have. */}}
{{- define "evenkeel.headlessName" -}}
{{- printf "%s-headless" (include "evenkeel.fullname" . | trunc 54 | trimSuffix "-") }}
{{- end }}

{{- define "evenkeel.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "evenkeel.fullname" .) .Values.serviceAccount.name }}
{{- else if and (include "evenkeel.needsToken" .) (not .Values.serviceAccount.name) }}
{{- fail "serviceAccount.name: is empty, and serviceAccount.create is false, so the Role would go to the account default of the whole namespace; name an account" }}
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

{{/* merge keeps every key once: the selector's labels win, then those of the user. */}}
{{- define "evenkeel.labels" -}}
{{- $own := dict "helm.sh/chart" (include "evenkeel.chart" .) "app.kubernetes.io/managed-by" .Release.Service }}
{{- with .Chart.AppVersion }}
{{- $_ := set $own "app.kubernetes.io/version" (toString .) }}
{{- end }}
{{- toYaml (merge (fromYaml (include "evenkeel.selectorLabels" .)) .Values.commonLabels $own) }}
{{- end }}

{{/* The metadata of a resource. Arguments: (list CONTEXT NAME [ANNOTATIONS [LABELS]]). */}}
{{- define "evenkeel.metadata" -}}
{{- $ctx := index . 0 -}}
name: {{ index . 1 }}
namespace: {{ $ctx.Release.Namespace }}
{{- $more := dict }}
{{- if gt (len .) 3 }}{{ $more = index . 3 }}{{ end }}
labels:
  {{- toYaml (merge (fromYaml (include "evenkeel.selectorLabels" $ctx)) $more (fromYaml (include "evenkeel.labels" $ctx))) | nindent 2 }}
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

{{/* The name of the health port. Values that an upgrade reuses may lack it. */}}
{{- define "evenkeel.portName" -}}
{{- default "evenkeel" .Values.http.portName }}
{{- end }}

{{/* The port on which pods poll each other, empty if it is that of the health endpoint. */}}
{{- define "evenkeel.peersPort" -}}
{{- $port := int (default 0 .Values.evenkeel.peers.port) }}
{{- if and $port (ne $port (int .Values.http.port)) }}{{ $port }}{{ end }}
{{- end }}

{{/* Checks that no two ports of a pod are the same. */}}
{{- define "evenkeel.checkPorts" -}}
{{- $seen := dict (toString .Values.grpc.port) "grpc.port" }}
{{- $more := list (list "http.port" .Values.http.port) }}
{{- if .Values.gateway.enabled }}{{ $more = append $more (list "gateway.port" .Values.gateway.port) }}{{ end }}
{{- with include "evenkeel.peersPort" . }}{{ $more = append $more (list "evenkeel.peers.port" .) }}{{ end }}
{{- range $more }}
{{- $key := first . }}
{{- $port := toString (last .) }}
{{- with get $seen $port }}
{{- fail (printf "%s: %s is the port of %s as well, and a pod can open it once; choose another" $key $port .) }}
{{- end }}
{{- $_ := set $seen $port $key }}
{{- end }}
{{- end }}

{{/* Checks that no variable of the user's changes a setting behind the chart's back, which has derived others from it. */}}
{{- define "evenkeel.checkEnv" -}}
{{- $keys := dict "EVENKEEL_SHUTDOWN_TIMEOUT" "shutdown.timeout" "EVENKEEL_SHUTDOWN_MINIMUM" "shutdown.minimum" "EVENKEEL_PEERS_PORT" "peers.port" "EVENKEEL_PEERS_SOURCE" "peers.source" }}
{{- range .Values.extraEnv }}
{{- with get $keys .name }}
{{- fail (printf "extraEnv: the variable of %s would change what the chart has computed, such as terminationGracePeriodSeconds and the Role; set evenkeel.%s instead" . .) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Mount points. They are directories, because a file mounted with subPath never changes. */}}
{{- define "evenkeel.configDir" -}}/etc/evenkeel{{- end }}
{{- define "evenkeel.switchDir" -}}/etc/evenkeel-switch{{- end }}
{{- define "evenkeel.peersTLSDir" -}}/etc/evenkeel-peers-tls{{- end }}
{{- define "evenkeel.grpcTLSDir" -}}/etc/grpc-tls{{- end }}

{{/*
Not empty if the chart creates the salt. By default it does where a cluster can be looked at: every
namespace has the ServiceAccount default. Without one, each rendering would make another salt.
*/}}
{{- define "evenkeel.createSalt" -}}
{{- if kindIs "bool" .Values.peersSalt.create }}
{{- if .Values.peersSalt.create }}true{{ end }}
{{- else if and .Values.enabled (not .Values.evenkeel.peers.salt) (ne .Values.evenkeel.peers.source "none") (lookup "v1" "ServiceAccount" .Release.Namespace "default") }}
{{- "true" }}
{{- end }}
{{- end }}

{{- define "evenkeel.saltSecret" -}}
{{- if .Values.peersSalt.existingSecret }}
{{- .Values.peersSalt.existingSecret }}
{{- else if include "evenkeel.createSalt" . }}
{{- if not .Values.enabled }}
{{- fail "peersSalt.create: is true, but with enabled: false the chart creates no Secret, and no pod could start without it; create one, and name it in peersSalt.existingSecret" }}
{{- end }}
{{- printf "%s-salt" (include "evenkeel.fullname" . | trunc 58 | trimSuffix "-") }}
{{- end }}
{{- end }}

{{- define "evenkeel.peersTLSSecret" -}}
{{- if .Values.peersTLS.secretName }}
{{- .Values.peersTLS.secretName }}
{{- else if .Values.peersTLS.certificate.create }}
{{- if not .Values.enabled }}
{{- fail "peersTLS.certificate.create: is true, but with enabled: false the chart creates no Certificate, and no pod could start without its Secret; create one, and name its Secret in peersTLS.secretName" }}
{{- end }}
{{- printf "%s-peers-tls" (include "evenkeel.fullname" . | trunc 53 | trimSuffix "-") }}
{{- end }}
{{- end }}

{{/* The headless Service's DNS name. The resolver's search list adds the cluster's domain. */}}
{{- define "evenkeel.headlessDNS" -}}
{{- printf "%s.%s.svc" (include "evenkeel.headlessName" .) .Release.Namespace }}
{{- end }}

{{/* The name that each pod's certificate must contain. A certificate from this chart contains the headless Service's name. */}}
{{- define "evenkeel.peersTLSName" -}}
{{- if .Values.evenkeel.peers.tls.serverName }}
{{- .Values.evenkeel.peers.tls.serverName }}
{{- else if .Values.peersTLS.certificate.create }}
{{- include "evenkeel.headlessDNS" . }}
{{- end }}
{{- end }}

{{/* Not empty if the source of peers needs a token for the API server. */}}
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

{{/* The health port's scheme, HTTP or HTTPS. */}}
{{- define "evenkeel.healthScheme" -}}
{{- ternary "HTTPS" "HTTP" (not (and (empty (include "evenkeel.peersTLSSecret" .)) (empty .Values.evenkeel.peers.tls.cert))) }}
{{- end }}

{{/* The library's defaults, where they are not empty, 0 or false. A test compares them with the code. */}}
{{- define "evenkeel.libraryDefaults" -}}
rebalance:
  enabled: true
  weight: connections
  tolerance: 0.1
  floor: 0.7
  spread: 1s
  maxPerSecond: 100
  maxFractionPerMinute: 1
  cooldown: 30s
  settle: 2s
peers:
  source: none
  dns:
    interval: 5s
shutdown:
  timeout: 20s
{{- end }}

{{/* Removes from a tree what is null or a default. Arguments: (list TREE DEFAULTS). It changes TREE: numbers would not survive a copy through YAML. */}}
{{- define "evenkeel.dropDefaults" -}}
{{- $tree := index . 0 }}
{{- $defaults := index . 1 }}
{{- range $key := keys $tree | sortAlpha }}
{{- $value := get $tree $key }}
{{- if kindIs "map" $value }}
{{- include "evenkeel.dropDefaults" (list $value (default dict (get $defaults $key))) }}
{{- if not $value }}
{{- $_ := unset $tree $key }}
{{- end }}
{{- else if or (kindIs "invalid" $value) (eq (include "evenkeel.plain" $value) (include "evenkeel.plain" (get $defaults $key))) }}
{{- $_ := unset $tree $key }}
{{- end }}
{{- end }}
{{- end }}

{{/* A value for comparison: durations in seconds, and nothing for what is empty, 0 or false. */}}
{{- define "evenkeel.plain" -}}
{{- $text := toString . }}
{{- if kindIs "slice" . }}
{{- if . }}{{ toJson . }}{{ end }}
{{- else if regexMatch "^([0-9.]+(h|ms|us|µs|ns|m|s))+$" $text }}
{{- with include "evenkeel.exactSeconds" $text | float64 }}{{ . }}{{ end }}
{{- else if . }}
{{- $text }}
{{- end }}
{{- end }}

{{/*
Checks durations that the schema cannot check and the server would refuse. The schema accepts a
number without a unit because 0 is valid. The lists are the ranges of docs/settings.md: the least
value, the most, and whether 0 is allowed although it is below the least.
*/}}
{{- define "evenkeel.checkDurations" -}}
{{- $e := .Values.evenkeel }}
{{- range $key, $range := dict
  "policy.maxConnectionAge" (list "1s" "8760h" true)
  "policy.maxConnectionAgeGrace" (list "1s" "8760h" true)
  "policy.maxConnectionIdle" (list "1s" "8760h" true)
  "policy.keepaliveTime" (list "1s" "8760h" true)
  "policy.keepaliveTimeout" (list "1s" "1h" true)
  "policy.minClientPing" (list "100ms" "24h" true)
  "rebalance.spread" (list "0s" "1m" false)
  "rebalance.cooldown" (list "1s" "1h" false)
  "rebalance.settle" (list "0s" "5m" false)
  "rebalance.grace" (list "1s" "8760h" true)
  "rebalance.warmup" (list "1s" "1h" true)
  "peers.dns.interval" (list "100ms" "10s" false)
  "shutdown.timeout" (list "1s" "1h" false)
  "shutdown.minimum" (list "0s" "59m" false) }}
{{- $value := $e }}
{{- range splitList "." $key }}{{ $value = get $value . }}{{ end }}
{{- include "evenkeel.checkDuration" (concat (list $key $value) $range) }}
{{- end }}
{{- end }}

{{/* Checks that shutdown.minimum leaves time to drain, as the server does. */}}
{{- define "evenkeel.checkShutdown" -}}
{{- $timeout := default "20s" .Values.evenkeel.shutdown.timeout }}
{{- $minimum := default "0s" .Values.evenkeel.shutdown.minimum }}
{{- $least := include "evenkeel.exactSeconds" $minimum | float64 }}
{{- if and (gt $least 0.0) (ge $least (include "evenkeel.exactSeconds" $timeout | float64)) }}
{{- fail (printf "evenkeel.shutdown.minimum: %v is not below evenkeel.shutdown.timeout (%v), which leaves no time to drain; raise the timeout" $minimum $timeout) }}
{{- end }}
{{- end }}

{{- define "evenkeel.checkDuration" -}}
{{- $key := index . 0 }}
{{- $text := index . 1 | toString }}
{{- if and (regexMatch "^[0-9]+$" $text) (ne (int $text) 0) }}
{{- fail (printf "evenkeel.%s: %s has no unit, write %ss" $key $text $text) }}
{{- end }}
{{- if not (kindIs "invalid" (index . 1)) }}
{{- $is := include "evenkeel.exactSeconds" $text | float64 }}
{{- $least := index . 2 }}
{{- $most := index . 3 }}
{{- if and (lt $is (include "evenkeel.exactSeconds" $least | float64)) (not (and (index . 4) (eq $is 0.0))) }}
{{- fail (printf "evenkeel.%s: %s is too short, allowed: %s%s to %s" $key $text (ternary "0, or " "" (index . 4)) $least $most) }}
{{- else if gt $is (include "evenkeel.exactSeconds" $most | float64) }}
{{- fail (printf "evenkeel.%s: %s is too long, allowed: %s%s to %s" $key $text (ternary "0, or " "" (index . 4)) $least $most) }}
{{- end }}
{{- end }}
{{- end }}

{{/* A Go duration in seconds, with fractions. */}}
{{- define "evenkeel.exactSeconds" -}}
{{- $units := dict "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 0.001 "us" 0.000001 "µs" 0.000001 "ns" 0.000000001 }}
{{- $sum := 0.0 }}
{{- range regexFindAll "([0-9]+\\.?[0-9]*|\\.[0-9]+)(h|ms|us|µs|ns|m|s)" (toString .) -1 }}
{{- $unit := regexFind "[^0-9.]+" . }}
{{- $sum = addf $sum (mulf (trimSuffix $unit . | float64) (get $units $unit)) }}
{{- end }}
{{- $sum }}
{{- end }}

{{/* A Go duration in whole seconds, rounded up. */}}
{{- define "evenkeel.seconds" -}}
{{- include "evenkeel.exactSeconds" . | float64 | ceil | int }}
{{- end }}

{{/*
The value of terminationGracePeriodSeconds: the user's if it is long enough, otherwise computed.
The kubelet's clock starts before preStop, and the kubelet kills what still runs at its end.
*/}}
{{- define "evenkeel.graceSeconds" -}}
{{- include "evenkeel.checkShutdown" . }}
{{- $sleep := int .Values.preStop.sleepSeconds }}
{{- $timeout := default "20s" .Values.evenkeel.shutdown.timeout }}
{{- $needed := add $sleep (include "evenkeel.seconds" $timeout | int) }}
{{- $set := .Values.terminationGracePeriodSeconds }}
{{- if kindIs "invalid" $set }}
{{- add $needed 5 }}
{{- else if le (int $set) (int $needed) }}
{{- fail (printf "terminationGracePeriodSeconds: %d is too short, the kubelet would kill pods that are still finishing RPCs; preStop.sleepSeconds %d and evenkeel.shutdown.timeout %v need at least %d; raise it, or leave it empty to have it computed" (int $set) $sleep $timeout (add1 $needed)) }}
{{- else }}
{{- int $set }}
{{- end }}
{{- end }}

{{/* The scrape endpoint of a monitor. Arguments: (list CONTEXT MONITOR-VALUES). */}}
{{- define "evenkeel.endpoint" -}}
{{- $ctx := index . 0 -}}
{{- $scheme := include "evenkeel.healthScheme" $ctx -}}
{{- with index . 1 -}}
port: {{ include "evenkeel.portName" $ctx }}
path: /metrics
scheme: {{ lower $scheme }}
{{- if eq $scheme "HTTPS" }}
tlsConfig:
  {{- if .tlsConfig }}
  {{- toYaml .tlsConfig | nindent 2 }}
  {{- else }}
  {{- include "evenkeel.scrapeTLS" $ctx | nindent 2 }}
  {{- end }}
{{- end }}
{{- range $key := list "interval" "scrapeTimeout" }}
{{- with get (index $ 1) $key }}
{{ $key }}: {{ . }}
{{- end }}
{{- end }}
{{- range $key := list "relabelings" "metricRelabelings" }}
{{- with get (index $ 1) $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Prometheus scrapes by address, and no certificate contains a pod's address. Without a common name there is nothing to verify. */}}
{{- define "evenkeel.scrapeTLS" -}}
{{- $secret := include "evenkeel.peersTLSSecret" . }}
{{- $name := include "evenkeel.peersTLSName" . }}
{{- if and $secret $name -}}
ca:
  secret:
    name: {{ $secret }}
    key: ca.crt
serverName: {{ $name }}
{{- else -}}
insecureSkipVerify: true
{{- end }}
{{- end }}

{{/* Label matchers that select the pods. A ReplicaSet cuts its pods' names to 58 characters before their suffix, so long names are matched by prefix. */}}
{{- define "evenkeel.promSelector" -}}
{{- $name := include "evenkeel.fullname" . }}
{{- if .Values.prometheusRule.selector }}
{{- .Values.prometheusRule.selector }}
{{- else if gt (len $name) 46 }}
{{- printf "namespace=%q,pod=~\"%s.+\"" .Release.Namespace (trunc 46 $name) }}
{{- else }}
{{- printf "namespace=%q,pod=~\"%s-[0-9a-z]+-[0-9a-z]{5}\"" .Release.Namespace $name }}
{{- end }}
{{- end }}

{{/* Not empty if `helm test` has a pod. By default it has one where something is known that the image understands. */}}
{{- define "evenkeel.helmTest" -}}
{{- $test := default dict .Values.helmTest }}
{{- $own := or .Values.command .Values.args }}
{{- if and .Values.enabled (not (kindIs "bool" $test.enabled)) (or $test.command (not $own)) -}}
true
{{- else if and .Values.enabled (kindIs "bool" $test.enabled) $test.enabled -}}
{{- if and $own (not $test.command) }}
{{- fail "helmTest.command: is empty, and an image with a command or args of its own does not know the flag -check; set a command, such as [curl, -fsSk, $(URL)] with helmTest.image, or leave helmTest.enabled empty" }}
{{- end -}}
true
{{- end }}
{{- end }}

{{/* The labels of the pod of `helm test`, which the Services must not select. */}}
{{- define "evenkeel.testLabels" -}}
app.kubernetes.io/name: {{ include "evenkeel.name" . | trunc 58 | trimSuffix "-" }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
