{{/*
Warnings for NOTES.txt: values that are allowed but rarely intended.
*/}}
{{- define "evenkeel.warnings" -}}
{{- $v := .Values }}
{{- $w := list }}
{{- if eq $v.evenkeel.peers.source "none" }}
{{- $w = append $w "evenkeel.peers.source is none: pods do not know each other, so nothing is moved. Set it to kubernetes, dns or static." }}
{{- end }}
{{- if and (eq $v.evenkeel.peers.source "dns") (has $v.service.ipFamilyPolicy (list "PreferDualStack" "RequireDualStack")) }}
{{- $w = append $w (printf "evenkeel.peers.source is dns and service.ipFamilyPolicy is %s: a pod with two addresses counts as two. Use the source kubernetes, which counts it once." $v.service.ipFamilyPolicy) }}
{{- end }}
{{- if not $v.evenkeel.rebalance.enabled }}
{{- $w = append $w "evenkeel.rebalance.enabled is false: nothing is moved. Set it to true to rebalance." }}
{{- end }}
{{- if $v.evenkeel.rebalance.dryRun }}
{{- $w = append $w "evenkeel.rebalance.dryRun is true: what would be drained is shown, and nothing is moved. Set it to false to rebalance." }}
{{- end }}
{{- if and (include "evenkeel.needsToken" .) (eq (include "evenkeel.automountToken" .) "false") }}
{{- $w = append $w "serviceAccount.automountToken is false: without a token pods cannot watch EndpointSlices. Leave it empty, or mount a token yourself." }}
{{- end }}
{{- if and (include "evenkeel.needsToken" .) (not $v.rbac.create) }}
{{- $w = append $w (printf "rbac.create is false: make sure that the ServiceAccount %s may list and watch endpointslices.discovery.k8s.io." (include "evenkeel.serviceAccountName" .)) }}
{{- end }}
{{- if and $v.autoscaling.enabled (not (has (toString $v.replicaCount) (list "2" "<nil>"))) }}
{{- $w = append $w "autoscaling.enabled is true: replicaCount is not used. Set autoscaling.minReplicas instead." }}
{{- end }}
{{- if and $v.evenkeel.peers.salt (include "evenkeel.saltSecret" .) }}
{{- $w = append $w "evenkeel.peers.salt is readable in the ConfigMap and is not used, because peersSalt overrides it. Remove it." }}
{{- else if $v.evenkeel.peers.salt }}
{{- $w = append $w "evenkeel.peers.salt is readable in the ConfigMap. Use peersSalt, which takes the salt from a Secret." }}
{{- end }}
{{- if eq $v.service.internalTrafficPolicy "Local" }}
{{- $w = append $w "service.internalTrafficPolicy is Local: connections return to pods on their client's node, so the load may stay uneven. Set it to Cluster unless you need this." }}
{{- end }}
{{- if and $v.networkPolicy.enabled (not $v.networkPolicy.monitoring) (or $v.serviceMonitor.enabled $v.podMonitor.enabled $v.prometheusRule.enabled) }}
{{- $w = append $w "networkPolicy.enabled is true and networkPolicy.monitoring is empty: Prometheus cannot scrape the pods, and the alerts are blind. Name the pods of Prometheus there." }}
{{- end }}
{{- with $v.podDisruptionBudget }}
{{- $pods := ternary $v.autoscaling.minReplicas (default 0 $v.replicaCount) $v.autoscaling.enabled | int }}
{{- $least := toString .minAvailable }}
{{- $given := not (has $least (list "" "<nil>")) }}
{{- $all := or (eq $least "100%") (and (regexMatch "^[0-9]+$" $least) (gt $pods 0) (ge (atoi $least) $pods)) }}
{{- if and .enabled (or (and $given $all) (and (not $given) (has (toString .maxUnavailable) (list "0" "0%")))) }}
{{- $w = append $w "podDisruptionBudget: no pod may ever be evicted, so no node can be drained. Set maxUnavailable to 1, or minAvailable below the number of pods." }}
{{- end }}
{{- end }}
{{- $age := include "evenkeel.seconds" $v.evenkeel.policy.maxConnectionAge | int }}
{{- if and (gt $age 0) (lt $age 1800) }}
{{- $w = append $w "evenkeel.policy.maxConnectionAge is below 30m: every pod drains all its connections that often, balanced or not. Set 30m or more, or 0s for no limit." }}
{{- end }}
{{- range $w }}

WARNING: {{ . }}
{{- end }}
{{- end }}
