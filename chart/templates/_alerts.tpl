{{/*
The alerts. Each is one for the whole release, however many pods show it. Only RPCs that fail are
critical: while traffic flows, nobody has to get up.
*/}}
{{- define "evenkeel.alerts" -}}
{{- $sel := include "evenkeel.promSelector" . }}
{{- $name := include "evenkeel.fullname" . }}
- alert: EvenkeelForcedCloses
  expr: sum by (namespace) (increase(evenkeel_connections_closed_total{ {{- $sel }},how="forced"}[10m])) > 0
  labels:
    severity: critical
  annotations:
    summary: {{ $name }} closes connections with RPCs in flight
    description: {{ `'The pods closed {{ printf "%.0f" $value }} connections in the last 10 minutes because their grace ran out, and their RPCs failed. Raise rebalance.grace or policy.maxConnectionAgeGrace above the longest RPC, or set them to 0s.'` }}
- alert: EvenkeelBroken
  expr: count by (namespace, code) (evenkeel_conditions{ {{- $sel }},severity="error"} == 1) > 0
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: {{ $name }} cannot rebalance until an error is fixed
    description: {{ `'{{ $value }} pods have shown the condition {{ $labels.code }} for 5 minutes. Calls are served. Look at /readyz?verbose on their health port for the cause and the cure.'` }}
- alert: EvenkeelAbsent
  expr: absent(evenkeel_ready{ {{- $sel }}})
  for: 10m
  labels:
    severity: warning
  annotations:
    summary: Prometheus has no metrics of {{ $name }}
    description: No pod has been scraped for 10 minutes. Look at the targets of the monitor, the NetworkPolicy (networkPolicy.monitoring), and whether the release has pods. The other alerts are blind meanwhile.
- alert: EvenkeelStaleView
  expr: count by (namespace) (evenkeel_verdict{ {{- $sel }},verdict="stale"} == 1) > 0
  for: 10m
  labels:
    severity: warning
  annotations:
    summary: {{ $name }} has no complete view of its pods
    description: {{ `'{{ $value }} pods have had no complete view of the others for 10 minutes, so new pods get no load. Calls are served. Look at /readyz?verbose on a health port, then at the API server or DNS, and at the Role.'` }}
- alert: EvenkeelStuck
  expr: |-
    count by (namespace) (increase(evenkeel_plan_seconds_count{ {{- $sel }}}[5m]) == 0
      and on (namespace, pod) evenkeel_ready{ {{- $sel }}} == 1) > 0
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: Pods of {{ $name }} have stopped planning
    description: {{ `'{{ $value }} pods serve and have planned nothing for 10 minutes, although each plans every second. Take a goroutine dump (SIGQUIT ends the pod with one), then restart them.'` }}
- alert: EvenkeelUneven
  expr: |-
    (max by (namespace) (evenkeel_load{ {{- $sel }}} / on (namespace, pod) evenkeel_share{ {{- $sel }}})
      > 1.5 * avg by (namespace) (evenkeel_load{ {{- $sel }}} / on (namespace, pod) evenkeel_share{ {{- $sel }}}))
      and on (namespace) avg by (namespace) (evenkeel_load{ {{- $sel }}}) >= 5
      unless on (namespace) min by (namespace) (evenkeel_enabled{ {{- $sel }}}) == 0
  for: 30m
  labels:
    severity: warning
  annotations:
    summary: The load of {{ $name }} is uneven
    description: {{ `'One pod has carried more than 1.5 times the mean load per share for 30 minutes, by what the pods measure, whatever they say about it. Look at "why" in the /statusz of the pod with the most load.'` }}
- alert: EvenkeelUnbalanceable
  expr: |-
    count by (namespace) (evenkeel_verdict{ {{- $sel }},verdict="unbalanceable"} == 1) > 0
      and on (namespace) avg by (namespace) (evenkeel_load{ {{- $sel }}}) >= 5
  for: 30m
  labels:
    severity: info
  annotations:
    summary: {{ $name }} is uneven, and moving connections does not help
    description: {{ `'{{ $value }} pods have had the verdict unbalanceable for 30 minutes. Look at "why" in their /statusz for what would help: usually a headless Service with dns:/// and round_robin, or fewer pods. Services with a mean load below 5 are left out.'` }}
- alert: EvenkeelPeersSilent
  expr: count by (namespace) (evenkeel_conditions{ {{- $sel }},code="peers-silent"} == 1) > 0
  for: 10m
  labels:
    severity: warning
  annotations:
    summary: Pods of {{ $name }} do not answer each other
    description: {{ `'{{ $value }} pods have had no answer from others on their health port for 10 minutes. Look at NetworkPolicies, peers.tls, and evenkeel_peer_errors_total.'` }}
- alert: EvenkeelConfigRejected
  expr: |-
    count by (namespace) (evenkeel_config_reload_successful{ {{- $sel }}} == 0
      or evenkeel_conditions{ {{- $sel }},code="peers-tls"} == 1) > 0
  for: 2m
  labels:
    severity: warning
  annotations:
    summary: {{ $name }} keeps running with old settings or certificates
    description: {{ `'{{ $value }} pods have rejected new settings or certificates for 2 minutes and keep the last good ones. A restart would fail. Look at /readyz?verbose, which names each wrong key or file.'` }}
- alert: EvenkeelCertificateExpires
  expr: |-
    count by (namespace) (evenkeel_certificate_not_after_seconds{ {{- $sel }}} - time()
      < on (namespace, pod) (evenkeel_certificate_not_after_seconds{ {{- $sel }}} - on (namespace, pod) evenkeel_certificate_not_before_seconds{ {{- $sel }}}) / 6) > 0
  for: 10m
  labels:
    severity: warning
  annotations:
    summary: Certificates of {{ $name }} were not renewed
    description: {{ `'{{ $value }} pods have a certificate (peers.tls) with less than a sixth of its life left. Without a new one they stop answering each other, and nothing is rebalanced. Look at cert-manager, or renew it.'` }}
- alert: EvenkeelRestartNeeded
  expr: count by (namespace) (evenkeel_conditions{ {{- $sel }},code="restart-needed"} == 1) > 0
  for: 1h
  labels:
    severity: info
  annotations:
    summary: New settings of {{ $name }} need a restart
    description: {{ printf `'{{ $value }} pods have had new settings for an hour that they read only when they start. Run kubectl -n %s rollout restart deploy/%s.'` .Release.Namespace $name }}
- alert: EvenkeelSwitchedOff
  expr: |-
    min by (namespace) (evenkeel_enabled{ {{- $sel }}}) == 0
      or max by (namespace) (evenkeel_dry_run{ {{- $sel }}}) == 1
  for: 24h
  labels:
    severity: info
  annotations:
    summary: Rebalancing of {{ $name }} is off
    description: The kill switch or a dry run has been on for a day, so new pods get no load. The conditions switched-off and dry-run in /statusz name the file. Remove it, or disable this alert.
- alert: EvenkeelChurn
  expr: |-
    sum by (namespace) (increase(evenkeel_goaways_total{ {{- $sel }},reason=~"reach|even|overload"}[1h]))
      > 2 * avg_over_time(sum by (namespace) (evenkeel_connections{ {{- $sel }}})[1h:1m])
  for: 90m
  labels:
    severity: warning
  annotations:
    summary: {{ $name }} moves connections again and again
    description: The pods have been sending more than two GOAWAYs per connection and hour for 90 minutes, as with a maxConnectionAge below 30m. Look at "decisions" in /statusz, and at whether the number of pods flaps. Set evenkeel.rebalance.enabled to false to stop it at once.
{{- end }}
