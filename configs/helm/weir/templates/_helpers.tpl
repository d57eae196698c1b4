{{- define "weir.name" -}}
{{- contains "weir" .Release.Name | ternary .Release.Name (printf "%s-weir" .Release.Name) | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "weir.selector" -}}
app.kubernetes.io/name: weir
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "weir.labels" -}}
{{ include "weir.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* weir.yaml. The instance is the pod's name, which the environment says (WEIR_INSTANCE). */}}
{{- define "weir.config" -}}
{{- $evidence := merge (dict "dir" "/var/lib/weir/evidence" "key_file" "/var/lib/weir/evidence.key") (.Values.config.evidence | default dict) -}}
{{- merge (dict "evidence" $evidence) (deepCopy .Values.config) | toYaml -}}
{{- end }}

{{- define "weir.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}
