{{/*
What is allowed and seldom meant, for NOTES.txt.
*/}}
{{- define "evenkeel.warnings" -}}
{{- $v := .Values }}
{{- $w := list }}
{{- if eq $v.evenkeel.peers.source "none" }}
{{- $w = append $w "evenkeel.peers.source is none: pods do not know each other, and nothing is moved." }}
{{- end }}
{{- if and (eq $v.evenkeel.peers.source "dns") (has $v.service.ipFamilyPolicy (list "PreferDualStack" "RequireDualStack")) }}
{{- $w = append $w "evenkeel.peers.source is dns and service.ipFamilyPolicy is dual-stack: a pod with two addresses counts as two. The source kubernetes counts it once." }}
{{- end }}
{{- if not $v.evenkeel.rebalance.enabled }}
{{- $w = append $w "evenkeel.rebalance.enabled is false: nothing is moved." }}
{{- end }}
{{- if and (include "evenkeel.needsToken" .) (eq (include "evenkeel.automountToken" .) "false") }}
{{- $w = append $w "serviceAccount.automountToken is false: without the token EndpointSlices cannot be watched, unless you mount one yourself." }}
{{- end }}
{{- if and (include "evenkeel.needsToken" .) (not $v.rbac.create) }}
{{- $w = append $w (printf "rbac.create is false: see to it that the ServiceAccount %s may list and watch endpointslices.discovery.k8s.io." (include "evenkeel.serviceAccountName" .)) }}
{{- end }}
{{- if and $v.autoscaling.enabled (not (has (toString $v.replicaCount) (list "2" "<nil>"))) }}
{{- $w = append $w "autoscaling.enabled is true: replicaCount is not used." }}
{{- end }}
{{- if and $v.evenkeel.peers.salt (include "evenkeel.saltSecret" .) }}
{{- $w = append $w "evenkeel.peers.salt stands in the ConfigMap for all to read and is not used: peersSalt comes before it." }}
{{- else if $v.evenkeel.peers.salt }}
{{- $w = append $w "evenkeel.peers.salt stands in the ConfigMap for all to read; peersSalt takes it from a Secret." }}
{{- end }}
{{- if eq $v.service.internalTrafficPolicy "Local" }}
{{- $w = append $w "service.internalTrafficPolicy is Local: connections come back to pods on their client's node, and may not be balanced." }}
{{- end }}
{{- $age := include "evenkeel.seconds" $v.evenkeel.policy.maxConnectionAge | int }}
{{- if and (gt $age 0) (lt $age 1800) }}
{{- $w = append $w "evenkeel.policy.maxConnectionAge is below 30m: every connection of every pod is made anew that often, balanced or not." }}
{{- end }}
{{- range $w }}

WARNING: {{ . }}
{{- end }}
{{- end }}
