{{/*
The alerts. Each looks at one pod by what it says of itself, save the last.
*/}}
{{- define "evenkeel.alerts" -}}
{{- $sel := include "evenkeel.promSelector" . }}
{{- $name := include "evenkeel.fullname" . }}
- alert: EvenkeelBroken
  expr: max by (namespace, pod, code) (evenkeel_conditions{ {{- $sel }},severity="error"}) == 1
  for: 1m
  labels:
    severity: critical
  annotations:
    summary: {{ $name }} moves no connections until it is mended
    description: {{ `'{{ $labels.pod }} says: {{ $labels.code }}. /readyz?verbose on its health port has the cause and the cure.'` }}
- alert: EvenkeelStaleView
  expr: max by (namespace, pod) (evenkeel_verdict{ {{- $sel }},verdict="stale"}) == 1
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: {{ $name }} does not know who else serves
    description: {{ `'{{ $labels.pod }} has had no complete view of the other pods for 5 minutes: new pods get no load. Look at the API server or DNS, the Role, and /readyz?verbose.'` }}
- alert: EvenkeelUnbalanceable
  expr: max by (namespace, pod) (evenkeel_verdict{ {{- $sel }},verdict="unbalanceable"}) == 1
  for: 30m
  labels:
    severity: info
  annotations:
    summary: {{ $name }} is uneven, and moving connections does not help
    description: {{ `'{{ $labels.pod }} has said so for 30 minutes; "why" in its /statusz says what would help: as a rule a headless Service with dns:/// and round_robin, or fewer pods.'` }}
- alert: EvenkeelForcedCloses
  expr: sum by (namespace, pod) (increase(evenkeel_connections_closed_total{ {{- $sel }},how="forced"}[10m])) > 0
  labels:
    severity: warning
  annotations:
    summary: {{ $name }} closes connections with RPCs in flight
    description: {{ `'{{ $labels.pod }} closed {{ printf "%.0f" $value }} connections in 10 minutes because their grace was over; their RPCs failed. Raise rebalance.grace or policy.maxConnectionAgeGrace above the longest RPC, or set them to 0s.'` }}
- alert: EvenkeelPeersSilent
  expr: max by (namespace, pod) (evenkeel_conditions{ {{- $sel }},code="peers-silent"}) == 1
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: Pods of {{ $name }} do not hear from each other
    description: {{ `'{{ $labels.pod }} gets no answer from other pods on their health port. Look at NetworkPolicies, peers.tls, and evenkeel_peer_errors_total.'` }}
- alert: EvenkeelConfigRejected
  expr: max by (namespace, pod) (evenkeel_conditions{ {{- $sel }},code=~"config|peers-tls"}) == 1
  for: 2m
  labels:
    severity: warning
  annotations:
    summary: {{ $name }} runs on with old settings or certificates
    description: {{ `'{{ $labels.pod }} refuses its new configuration or certificates and keeps the last good ones; a restart would fail. /readyz?verbose names each wrong key.'` }}
- alert: EvenkeelRestartNeeded
  expr: max by (namespace, pod) (evenkeel_conditions{ {{- $sel }},code="restart-needed"}) == 1
  for: 1h
  labels:
    severity: info
  annotations:
    summary: Settings of {{ $name }} wait for a restart
    description: {{ `'{{ $labels.pod }} has new settings that are read at the start only: kubectl rollout restart.'` }}
- alert: EvenkeelChurn
  expr: |-
    sum by (namespace) (increase(evenkeel_goaways_total{ {{- $sel }},reason=~"reach|even|overload"}[1h]))
      > 10 * sum by (namespace) (avg_over_time(evenkeel_connections{ {{- $sel }}}[1h]))
  for: 30m
  labels:
    severity: warning
  annotations:
    summary: {{ $name }} moves connections again and again
    description: More than ten GOAWAYs for each connection in an hour. Does the number of pods flap? Set rebalance.enabled to false to stop it at once, and look at "decisions" in /statusz.
{{- end }}
