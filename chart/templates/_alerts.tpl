{{/*
The alerts. Each evaluates one pod by its own metrics, except EvenkeelChurn, which sums over all pods.
*/}}
{{- define "evenkeel.alerts" -}}
{{- $sel := include "evenkeel.promSelector" . }}
{{- $name := include "evenkeel.fullname" . }}
- alert: EvenkeelBroken
  expr: max by (namespace, pod, code) (evenkeel_conditions{ {{- $sel }},severity="error"}) == 1
  for: 5m
  labels:
    severity: critical
  annotations:
    summary: {{ $name }} cannot rebalance until an error is fixed
    description: {{ `'{{ $labels.pod }} has shown the condition {{ $labels.code }} for 5 minutes. Look at /readyz?verbose on its health port for the cause and the cure.'` }}
- alert: EvenkeelStaleView
  expr: max by (namespace, pod) (evenkeel_verdict{ {{- $sel }},verdict="stale"}) == 1
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: {{ $name }} has no complete view of its pods
    description: {{ `'{{ $labels.pod }} has had no complete view of the other pods for 5 minutes, so new pods get no load. Look at /readyz?verbose on its health port, then at the API server or DNS, and at the Role.'` }}
- alert: EvenkeelUnbalanceable
  expr: max by (namespace, pod) (evenkeel_verdict{ {{- $sel }},verdict="unbalanceable"}) == 1
  for: 30m
  labels:
    severity: info
  annotations:
    summary: {{ $name }} is uneven, and moving connections does not help
    description: {{ `'{{ $labels.pod }} has had the verdict unbalanceable for 30 minutes. Look at "why" in its /statusz for what would help: usually a headless Service with dns:/// and round_robin, or fewer pods.'` }}
- alert: EvenkeelForcedCloses
  expr: sum by (namespace, pod) (increase(evenkeel_connections_closed_total{ {{- $sel }},how="forced"}[10m])) > 0
  labels:
    severity: warning
  annotations:
    summary: {{ $name }} closes connections with RPCs in flight
    description: {{ `'{{ $labels.pod }} closed {{ printf "%.0f" $value }} connections in the last 10 minutes because their grace ran out, and their RPCs failed. Raise rebalance.grace or policy.maxConnectionAgeGrace above the longest RPC, or set them to 0s.'` }}
- alert: EvenkeelPeersSilent
  expr: max by (namespace, pod) (evenkeel_conditions{ {{- $sel }},code="peers-silent"}) == 1
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: Pods of {{ $name }} do not answer each other
    description: {{ `'{{ $labels.pod }} has had no answer from other pods on their health port for 5 minutes. Look at NetworkPolicies, peers.tls, and evenkeel_peer_errors_total.'` }}
- alert: EvenkeelConfigRejected
  expr: max by (namespace, pod) (evenkeel_conditions{ {{- $sel }},code=~"config|peers-tls"}) == 1
  for: 2m
  labels:
    severity: warning
  annotations:
    summary: {{ $name }} keeps running with old settings or certificates
    description: {{ `'{{ $labels.pod }} has rejected its new configuration or certificates for 2 minutes and keeps the last good ones. A restart would fail. Look at /readyz?verbose, which names each wrong key or file.'` }}
- alert: EvenkeelRestartNeeded
  expr: max by (namespace, pod) (evenkeel_conditions{ {{- $sel }},code="restart-needed"}) == 1
  for: 1h
  labels:
    severity: info
  annotations:
    summary: New settings of {{ $name }} need a restart
    description: {{ printf `'{{ $labels.pod }} has had new settings for an hour that it reads only when it starts. Run kubectl -n %s rollout restart deploy/%s.'` .Release.Namespace $name }}
- alert: EvenkeelChurn
  expr: |-
    sum by (namespace) (increase(evenkeel_goaways_total{ {{- $sel }},reason=~"reach|even|overload"}[1h]))
      > 10 * sum by (namespace) (avg_over_time(evenkeel_connections{ {{- $sel }}}[1h]))
  for: 30m
  labels:
    severity: warning
  annotations:
    summary: {{ $name }} moves connections again and again
    description: The pods have been sending more than ten GOAWAYs per connection and hour for 30 minutes. Look at "decisions" in /statusz, and at whether the number of pods flaps. Set evenkeel.rebalance.enabled to false to stop it at once.
{{- end }}
