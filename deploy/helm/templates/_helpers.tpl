{{- /* Everything bears the name of the release. */ -}}
{{- define "poller.selector" -}}
app.kubernetes.io/name: {{ .Release.Name }}
{{- end -}}

{{- define "poller.labels" -}}
{{ include "poller.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "poller.isShared" -}}
{{- if eq .Values.store "postgresql" }}true{{ end -}}
{{- end -}}

{{- /* The pod, which a StatefulSet and a Deployment have alike. */ -}}
{{- define "poller.pod" -}}
metadata:
  labels:
    {{- include "poller.selector" . | nindent 4 }}
  annotations:
    # another configuration makes other pods: what a daemon reads at its start is in force
    checksum/config: {{ include (print $.Template.BasePath "/configmap.yaml") . | sha256sum }}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    # the Secret's files, and the claim's, are for this group
    fsGroup: 10001
    {{- if not (include "poller.isShared" .) }}
    fsGroupChangePolicy: OnRootMismatch
    {{- end }}
    seccompProfile:
      type: RuntimeDefault
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if include "poller.isShared" . }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "poller.selector" . | nindent 10 }}
  {{- end }}
  containers:
    - name: poller
      image: {{ printf "%s:%s" .Values.image.repository .Values.image.tag | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      env:
        - name: POLLER_CONFIG
          value: /etc/comms-poller/poller.toml
        - name: POLLER_SECRETS_DIR
          value: /run/secrets/comms-poller
      ports:
        - name: control
          containerPort: 8470
        - name: observe
          containerPort: 8471
      # a large store is migrated before anything listens
      startupProbe:
        httpGet: {path: /healthz, port: observe}
        periodSeconds: 2
        failureThreshold: 300
      livenessProbe:
        httpGet: {path: /healthz, port: observe}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: observe}
        periodSeconds: 5
        timeoutSeconds: 5
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      volumeMounts:
        {{- if not (include "poller.isShared" .) }}
        - {name: state, mountPath: /data}
        {{- end }}
        - {name: config, mountPath: /etc/comms-poller, readOnly: true}
        - {name: secrets, mountPath: /run/secrets/comms-poller, readOnly: true}
        - {name: tmp, mountPath: /tmp}
  volumes:
    - name: config
      configMap:
        name: {{ .Release.Name }}
    - name: secrets
      secret:
        secretName: {{ .Values.secretName | default .Release.Name }}
        defaultMode: 0440
    - name: tmp
      emptyDir:
        medium: Memory
        sizeLimit: 64Mi
{{- end -}}
