# ruff: noqa: E501 - a case is a line
"""Manifests that no rule has anything to say about, and what makes each rule speak."""

from __future__ import annotations

SELDON = """\
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata:
  name: shop
  namespace: production
  labels: {team: a}
  annotations: {seldon.io/tempo-model: '{"model_details": {"name": "shop"}}'}
spec:
  protocol: v2
  predictors:
  - name: default
    progressDeadlineSeconds: 600
    annotations: {seldon.io/no-engine: "true"}
    graph:
      name: shop
      implementation: TEMPO_SERVER
      modelUri: s3://models/shop
      envSecretRefName: minio
    componentSpecs:
    - spec:
        containers:
        - name: shop
          image: registry/shop:1
          env:
          - {name: MLSERVER_PARALLEL_WORKERS, value: "0"}
          - {name: TEMPO_RUNTIME_MODELS__PRICE__URL, value: "http://price-default:9000"}
          livenessProbe: {periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6}
          resources: {requests: {cpu: 500m, memory: 500Mi}, limits: {cpu: 1, memory: 1Gi}}
---
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata: {name: price, namespace: production}
spec:
  protocol: v2
  predictors:
  - name: default
    progressDeadlineSeconds: 600
    annotations: {seldon.io/no-engine: "true"}
    graph: {name: price, implementation: SKLEARN_SERVER, modelUri: "gs://models/price"}
---
apiVersion: v1
kind: Secret
metadata: {name: minio, namespace: production}
stringData: {RCLONE_CONFIG_S3_TYPE: s3}
data: {RCLONE_CONFIG_S3_PROVIDER: TWluaW8=}
"""

STATEFUL = """\
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata:
  name: shop
  annotations: {seldon.io/tempo-model: '{"model_details": {"name": "shop"}, "states_in_memory": ["shop"]}'}
spec:
  predictors:
  - replicas: 1
    componentSpecs:
    - spec:
        containers:
        - {name: shop, env: [{name: MLSERVER_PARALLEL_WORKERS, value: "0"}]}
"""

PINNED = """\
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata: {name: shop, annotations: {seldon.io/tempo-artifact-digest: "sha256:1"}}
spec:
  predictors:
  - componentSpecs:
    - spec: {containers: [{name: shop, env: [{name: TEMPO_RUNTIME_EXPECTED_DIGEST, value: "sha256:0,sha256:1"}]}]}
"""

SELDON2 = """\
apiVersion: mlops.seldon.io/v1alpha1
kind: Server
metadata: {name: tempo, namespace: mesh}
spec:
  serverConfig: mlserver
  capabilities: [tempo]
  podSpec:
    containers:
    - name: mlserver
      image: registry/mlserver:1
      env:
      - {name: TEMPO_RUNTIME_BASE_URL, value: "http://seldon-mesh"}
      - {name: MLSERVER_PARALLEL_WORKERS, value: "0"}
      resources: {requests: {cpu: 1}}
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Model
metadata: {name: price, namespace: mesh}
spec: {storageUri: "gs://models/price", requirements: [sklearn]}
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Model
metadata: {name: shop, namespace: mesh}
spec:
  storageUri: s3://models/shop
  secretName: minio
  server: tempo
  requirements: [tempo]
  parameters:
  - {name: timeout, value: "10"}
  - {name: models, value: '{"price": {"url": "http://seldon-mesh", "model": "price"}}'}
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Experiment
metadata: {name: ab, namespace: mesh}
spec: {default: price, candidates: [{name: price, weight: 90}, {name: shop, weight: 10}]}
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Pipeline
metadata: {name: flow, namespace: mesh}
spec:
  steps: [{name: price}, {name: shop, inputs: [flow.inputs, price.outputs]}]
  output: {steps: [shop]}
---
apiVersion: v1
kind: Secret
metadata: {name: minio, namespace: mesh}
stringData: {s3: "type: s3"}
---
name: shop
implementation: tempo_runtime.TempoPipelineRuntime
parameters: {version: v1, extra: {timeout: 10}}
"""

KSERVE = """\
apiVersion: serving.kserve.io/v1alpha1
kind: ServingRuntime
metadata: {name: tempo, namespace: production, annotations: {serving.kserve.io/server-type: mlserver}}
spec:
  protocolVersions: [v2]
  supportedModelFormats: [{name: tempo, autoSelect: true}]
  containers:
  - name: kserve-container
    image: registry/mlserver@sha256:00
    env:
    - {name: MLSERVER_MODEL_IMPLEMENTATION, value: tempo_runtime.TempoPipelineRuntime}
    - {name: MLSERVER_PARALLEL_WORKERS, value: "0"}
    resources: {limits: {memory: 1Gi}}
---
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: shop, namespace: production, annotations: {serving.kserve.io/deploymentMode: Knative}}
spec:
  predictor:
    minReplicas: 1
    maxReplicas: 2
    timeout: 120
    model:
      modelFormat: {name: tempo}
      runtime: tempo
      protocolVersion: v2
      storageUri: s3://models/shop
      env: [{name: MLSERVER_MODEL_NAME, value: shop}]
---
apiVersion: serving.kserve.io/v1alpha1
kind: InferenceGraph
metadata: {name: flow, namespace: production}
spec:
  routerTimeouts: {serviceClient: 60}
  nodes:
    root:
      routerType: Splitter
      steps: [{name: a, serviceName: shop, weight: 40}, {name: b, nodeName: more, weight: 60}]
    more:
      routerType: Sequence
      steps: [{serviceName: shop}]
"""

HEADLESS = f"""\
{KSERVE.replace("{name: MLSERVER_MODEL_NAME, value: shop}", '{name: TEMPO_RUNTIME_MODELS__A__URL, value: "http://price-predictor:8080"}')}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: inferenceservice-config, namespace: kserve}}
data: {{service: '{{"serviceClusterIPNone": true}}'}}
"""

# Rule, the manifest, what in it becomes what; the rule then speaks of a line with the third's text.
CASES = [
    ("yaml", SELDON, "labels: {team: a}", "labels: {team: a"),
    ("yaml-empty", "nothing yet\n", "nothing", "# nothing"),
    ("yaml-duplicate-key", SELDON, "  name: shop\n", "  name: shop\n  name: shop\n"),
    ("name", SELDON, "name: price, namespace", "name: my_price, namespace"),
    ("name-twice", SELDON, "{name: price, namespace", "{name: shop, namespace"),
    ("namespace-missing", SELDON, "{name: price, namespace: production}", "{name: price}"),
    ("label-value", SELDON, "team: a", "team: a team"),
    ("field-case", SELDON, "modelUri: s3", "modelURI: s3"),
    ("field-unknown", SELDON, "modelUri: s3", "model: s3"),
    ("uri-scheme", SELDON, "s3://models/shop", "models/shop"),
    ("artifact-digest", PINNED, '"sha256:1"}', '"sha256:2"}'),
    ("tempo-annotation", SELDON, '"name": "shop"', '"name": "shed"'),
    ("env-twice", SELDON, "TEMPO_RUNTIME_MODELS__PRICE__URL", "MLSERVER_PARALLEL_WORKERS"),
    ("env-secret", SELDON, "MLSERVER_PARALLEL_WORKERS, value", "DB_PASSWORD, value"),
    ("mlserver-number", SELDON, 'WORKERS, value: "0"', 'WORKERS, value: "none"'),
    ("mlserver-debug", SELDON, 'MLSERVER_PARALLEL_WORKERS, value: "0"', 'MLSERVER_DEBUG, value: "on"'),
    ("models-read-only", SELDON, 'MLSERVER_PARALLEL_WORKERS, value: "0"', "HF_CACHE, value: /mnt/models/x"),
    ("secret-written", SELDON, "registry/shop:1", "https://me:pw@registry/shop:1"),
    ("resources-exceed", SELDON, "cpu: 500m", "cpu: 1500m"),
    ("resources-missing", SELDON2, "      resources: {requests: {cpu: 1}}\n", ""),
    ("image-latest", SELDON, "registry/shop:1", "registry:5000/shop"),
    ("runs-as-root", SELDON, "resources: {", "securityContext: {runAsUser: 0}\n          resources: {"),
    ("replica-range", KSERVE, "minReplicas: 1", "minReplicas: 3"),
    ("environment-ignored", SELDON2, "version: v1", "environment_tarball: e.tar.gz"),
    ("pipeline-batching", SELDON2, "implementation: tempo_runtime", "cache_enabled: true\nimplementation: tempo_runtime"),
    ("state-lost", STATEFUL, "replicas: 1", "replicas: 2"),
    ("state-lost", STATEFUL, 'value: "0"', 'value: "2"'),
    ("settings-name", SELDON2, "\nname: shop\n", "\nname: shed\n"),
    ("secret-rclone-key", SELDON, "RCLONE_CONFIG_S3_PROVIDER", "rclone_config_s3_provider"),
    ("secret-remote", SELDON, "s3://models/shop", "minio://models/shop"),
    ("secret-seldon2", SELDON2, '{s3: "type: s3"}', "{RCLONE_CONFIG_S3_TYPE: s3}"),
    ("child-url", SELDON, "http://price-default:9000", "http://price-default:8000"),
    ("child-url", SELDON, "http://price-default:9000", "http://price-default.other:9000"),
    ("child-url", SELDON, "http://price-default:9000", "http://price:9000"),
    ("pipeline-settings", SELDON, "PRICE__URL", "PRICE__ULR"),
    ("pipeline-settings", SELDON2, 'timeout, value: "10"', 'timeout, value: "soon"'),
    ("seldon-container-name", SELDON, "- name: shop\n          image: registry/shop:1", "- name: classifier"),
    ("seldon-container-apart", SELDON, "- name: shop\n          image", "- name: classifier\n          image"),
    ("seldon-container-missing", SELDON, "implementation: SKLEARN_SERVER, ", ""),
    ("seldon-protocol", SELDON, "protocol: v2", "protocol: v3"),
    ("seldon-protocol-v2", SELDON, "protocol: v2", "protocol: seldon"),
    ("seldon-tensorflow", SELDON, "SKLEARN_SERVER", "TENSORFLOW_SERVER"),
    ("seldon-implementation", SELDON, "SKLEARN_SERVER", "OUR_SERVER"),
    ("seldon-model-uri", SELDON, "      modelUri: s3://models/shop\n", ""),
    ("seldon-no-engine-children", SELDON, "graph: {name: price,", "graph: {children: [{name: price, implementation: SIMPLE_MODEL}], name: price,"),
    ("seldon-logger", SELDON, "graph: {name: price,", "graph: {logger: {url: http://logs, mode: all}, name: price,"),
    ("seldon-no-engine", SELDON, 'no-engine: "true"', 'no-engine: "false"'),
    ("seldon-predictors", SELDON, "  predictors:\n", "  predictors:\n  - {name: default, graph: {}}\n"),
    ("seldon-traffic", SELDON, "  - name: default\n", "  - name: default\n    traffic: 50\n"),
    ("seldon-env-wiped", SELDON, "MLSERVER_PARALLEL_WORKERS", "MLSERVER_HTTP_PORT"),
    ("seldon-env-ignored", SELDON, "MLSERVER_PARALLEL_WORKERS", "MLSERVER_METRICS_PORT"),
    ("seldon-name-length", SELDON, "  - name: default\n", f"  - name: d{'e' * 60}\n"),
    ("seldon-service-account", SELDON, "      envSecret", "      serviceAccountName: x\n      envSecret"),
    ("seldon-secret-reach", SELDON, "modelUri: s3://models/shop", "type: MODEL"),
    ("seldon-image", SELDON, "          image: registry/shop:1\n", ""),
    ("seldon-liveness", SELDON, "timeoutSeconds: 5, ", ""),
    ("seldon-probe-handler", SELDON, "livenessProbe: {", "livenessProbe: {exec: {command: [x]}, "),
    ("seldon-progress-deadline", SELDON, "    progressDeadlineSeconds: 600\n", ""),
    ("seldon-mount", SELDON, "resources: {", "volumeMounts: [{mountPath: /mnt/models}]\n          resources: {"),
    ("seldon-replicas-hpa", SELDON, "    - spec:\n", "    - hpaSpec: {maxReplicas: 2}\n      replicas: 2\n      spec:\n"),
    ("seldon-class", SELDON, 'PARALLEL_WORKERS, value: "0"', "MODEL_IMPLEMENTATION, value: Shop"),
    ("seldon2-explainer-llm", SELDON2, "  server: tempo", "  explainer: {}\n  llm: {}"),
    ("seldon2-requirement", SELDON2, "requirements: [tempo]", "requirements: [tempo, r]"),
    ("seldon2-server", SELDON2, "server: tempo", "server: temp"),
    ("seldon2-capabilities", SELDON2, "capabilities", "extraCapabilities"),
    ("seldon2-server-container", SELDON2, "- name: mlserver", "- name: server"),
    ("seldon2-server-env", SELDON2, "TEMPO_RUNTIME_BASE_URL", "MLSERVER_HTTP_PORT"),
    ("seldon2-child-version", SELDON2, '"model": "price"', '"model": "price_1"'),
    ("seldon2-dropped", SELDON2, "implementation: tempo", "max_batch_size: 1\nimplementation: tempo"),
    ("seldon2-steps", SELDON2, "price.outputs", "prices.outputs"),
    ("seldon2-unknown-model", SELDON2, "{name: price, weight", "{name: prices, weight"),
    ("seldon2-experiment", SELDON2, "default: price", "default: prices"),
    ("kserve-runtime", KSERVE, "runtime: tempo", "runtime: temp"),
    ("kserve-runtime-namespace", KSERVE, "{name: tempo, namespace: production, ann", "{name: tempo, namespace: other, ann"),
    ("kserve-format", KSERVE, "modelFormat: {name: tempo}", "modelFormat: {name: onnx}"),
    ("kserve-protocol", KSERVE, "protocolVersion: v2", "protocolVersion: v1"),
    ("kserve-protocol-missing", KSERVE, "      protocolVersion: v2\n", ""),
    ("kserve-model-class", KSERVE, "tempo_runtime.TempoPipelineRuntime", '"{{.Labels.modelClass}}"'),
    ("kserve-container-name", KSERVE, "name: kserve-container", "name: mlserver"),
    ("kserve-parallel-workers", KSERVE, "MLSERVER_PARALLEL_WORKERS", "OTHER"),
    ("kserve-explainer-gone", KSERVE, "  predictor:\n", "  explainer: {alibi: {}}\n  predictor:\n"),
    ("kserve-explainer-v1", KSERVE, "  predictor:\n", "  explainer: {containers: [{image: mlserver:1}]}\n  predictor:\n"),
    ("kserve-model-name", KSERVE, "value: shop", "value: shed"),
    ("kserve-timeout", KSERVE, "timeout: 120", "timeout: 30"),
    ("kserve-storage", KSERVE, "      storageUri: s3://models/shop\n", ""),
    ("kserve-headless", HEADLESS, "price-predictor:8080", "price-predictor:80"),
    ("kserve-knative-flag", KSERVE, "  predictor:\n", "  predictor:\n    nodeSelector: {gpu: a100}\n"),
    ("kserve-graph-nodes", KSERVE, "nodeName: more", "nodeName: less"),
    ("kserve-graph-steps", KSERVE, "serviceName: shop, weight", "serviceName: shop, nodeName: more, weight"),
    ("kserve-graph-weights", KSERVE, "weight: 40", "weight: 50"),
    ("kserve-graph-service", KSERVE, "serviceName: shop, weight", "serviceName: shed, weight"),
    ("kserve-graph-timeout", KSERVE, "  routerTimeouts: {serviceClient: 60}\n", ""),
]  # fmt: skip
