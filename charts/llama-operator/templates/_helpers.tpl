{{/* Name of the operator's objects: the release's name, with the chart's name in it. */}}
{{- define "llama-operator.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of cluster-wide objects: two releases in two namespaces may have the same name. */}}
{{- define "llama-operator.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "llama-operator.fullname" .) -}}
{{- end -}}

{{/* app.kubernetes.io/name is fixed: the stages' NetworkPolicies let the operator in by it. */}}
{{- define "llama-operator.selectorLabels" -}}
app.kubernetes.io/name: llama-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "llama-operator.labels" -}}
{{ include "llama-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "llama-operator.operatorImage" -}}
{{- .Values.images.operator | default (printf "llama-operator:%s" .Chart.AppVersion) -}}
{{- end -}}

{{- define "llama-operator.servingImage" -}}
{{- .Values.images.serving | default (printf "llama-serving:%s" .Chart.AppVersion) -}}
{{- end -}}

{{/* Empty where only the other one is named: a registry that has that one need not have this one under its own name. */}}
{{- define "llama-operator.servingGpuImage" -}}
{{- if .Values.images.servingGpu -}}
{{- .Values.images.servingGpu -}}
{{- else if not .Values.images.serving -}}
{{- printf "llama-serving-gpu:%s" .Chart.AppVersion -}}
{{- end -}}
{{- end -}}

{{/* The gateway is in the operator's image. */}}
{{- define "llama-operator.gatewayImage" -}}
{{- .Values.images.gateway | default (include "llama-operator.operatorImage" .) -}}
{{- end -}}

{{/* Watched namespaces, separated by commas; empty for all. */}}
{{- define "llama-operator.watchNamespaces" -}}
{{- if not .Values.watch.allNamespaces -}}
{{- .Values.watch.namespaces | default (list .Release.Namespace) | join "," -}}
{{- end -}}
{{- end -}}

{{/*
What the operator may do in a namespace that it serves. It writes by server-side apply (create and patch) and learns of
changes by watching (list and watch). It reads Secrets that it can name, and, with rbac.accessKeys, watches those with the
label llama-operator.dev/access-key: RBAC knows no labels, so the right is on all Secrets of the namespace. It gives
gateways and resolvers no right that it does not have itself: theirs on pods, on one ConfigMap and on one Secret.
*/}}
{{- define "llama-operator.rules" -}}
{{- $later := include "llama-operator.laterValues" . | fromYaml -}}
- apiGroups: [llama-operator.dev]
  resources: [llamadeployments, llamaadapters]
  verbs: [list, watch, patch]
- apiGroups: [llama-operator.dev]
  resources: [llamaweights]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [llama-operator.dev]
  resources: [llamadeployments/status, llamaweights/status, llamaadapters/status]
  verbs: [patch]
- apiGroups: [llama-operator.dev]
  resources: [llamadeployments/finalizers, llamaweights/finalizers, llamaadapters/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, serviceaccounts]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [resourcequotas]
  verbs: [list]
- apiGroups: [resource.k8s.io]
  resources: [resourceclaimtemplates]
  verbs: [get]
- apiGroups: [""]
  resources: [secrets]
  {{- if $later.accessKeys }}
  verbs: [get, list, watch, create, patch, delete]  # of spec.access: watched by label, one is written
  {{- else }}
  verbs: [get, create]
  {{- end }}
- apiGroups: [""]
  resources: [events]
  verbs: [get, list, create, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch, create, patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, create, patch, delete]
{{- if $later.routes }}
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, create, patch, delete]
{{- end }}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [llama-operator]  # who writes in the namespace, whatever the release
  verbs: [get, watch, update]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [list, watch, create, patch, delete]
{{- end -}}

{{/* Where admission policies hold: the namespaces that are served. */}}
{{- define "llama-operator.admissionNamespaces" -}}
matchResources:
  {{- if .Values.watch.allNamespaces }}
  namespaceSelector: {}
  {{- else }}
  namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: In
        values:
          {{- .Values.watch.namespaces | default (list .Release.Namespace) | toYaml | nindent 10 }}
  {{- end }}
{{- end -}}

{{/*
Values that an earlier version of the chart had not, with their defaults: `helm upgrade --reuse-values` keeps the values
of the release, and those of its chart, so a later value is not there at all.
*/}}
{{- define "llama-operator.laterValues" -}}
{{- $sources := .Values.sources | default dict -}}
{{- $network := .Values.networkPolicy | default dict -}}
{{- $admission := .Values.admissionPolicy | default dict -}}
{{- $limits := (.Values.resolver | default dict).limits | default dict -}}
requireLabel: {{ hasKey $sources "requireLabel" | ternary $sources.requireLabel true }}
allowedHosts: {{ $sources.allowedHosts | default list | toJson }}
allowedRegistries: {{ .Values.images.allowedRegistries | default list | toJson }}
admission: {{ hasKey $admission "enabled" | ternary $admission.enabled true }}
operatorPolicy: {{ hasKey $network "operator" | ternary $network.operator true }}
apiServerPorts: {{ $network.apiServerPorts | default (list 443 6443 8443 16443) | toJson }}
sourceCidrs: {{ $network.sourceCidrs | default list | toJson }}
sourceNetworks: {{ $sources.networks | default list | toJson }}
resolverCpu: {{ $limits.cpu | default "2" | quote }}
resolverMemory: {{ $limits.memory | default "1Gi" | quote }}
accessKeys: {{ hasKey .Values.rbac "accessKeys" | ternary .Values.rbac.accessKeys true }}
routes: {{ hasKey .Values.rbac "routes" | ternary .Values.rbac.routes true }}
logFormat: {{ .Values.logFormat | default "text" }}
{{- end -}}
