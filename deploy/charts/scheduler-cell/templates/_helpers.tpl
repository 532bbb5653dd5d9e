{{- define "scheduler.selector" -}}
app.kubernetes.io/name: scheduler
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "scheduler.labels" -}}
{{ include "scheduler.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "scheduler.metadata" -}}
name: {{ .root.Release.Name }}-{{ .component }}
labels:
  {{- include "scheduler.labels" . | nindent 2 }}
{{- end }}

{{- /* Settings come from the ConfigMap, secrets from the Secret, URLs from what the chart itself runs. */ -}}
{{- define "scheduler.environment" -}}
envFrom:
  - configMapRef: {name: {{ .root.Release.Name }}-settings}
  - secretRef: {name: {{ .root.Values.secretName }}}
{{- if .root.Values.postgres.enabled }}
env:
  - name: DATABASE_URL
    valueFrom:
      secretKeyRef: {name: {{ .root.Release.Name }}-postgres-app, key: uri}
{{- end }}
{{- end }}

{{- define "scheduler.pod" -}}
automountServiceAccountToken: false
# Kubernetes would set FLOWER_PORT and SCHEDULER_… for its services, which are settings here.
enableServiceLinks: false
# A worker takes up to 40 seconds to finish its requests.
terminationGracePeriodSeconds: 60
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
volumes:
  - {name: tmp, emptyDir: {}}
  - {name: state, emptyDir: {}}
{{- end }}

{{- /* Replicas stand on different nodes and in different zones, where there are several. */ -}}
{{- define "scheduler.spread" -}}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "scheduler.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}

{{- define "scheduler.container" -}}
name: {{ .component }}
image: {{ .root.Values.image.repository }}:{{ .root.Values.image.tag }}
command: {{ toJson .command }}
{{ include "scheduler.environment" . }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: state, mountPath: /var/lib/scheduler}
resources:
  {{- toYaml .resources | nindent 2 }}
{{- end }}

{{- define "scheduler.liveness" -}}
startupProbe:
  httpGet: {path: {{ .path }}, port: {{ .port }}}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 30
livenessProbe:
  httpGet: {path: {{ .path }}, port: {{ .port }}}
  periodSeconds: {{ .period }}
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}

{{- define "scheduler.disruption" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "scheduler.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "scheduler.selector" . | nindent 6 }}
{{- end }}
