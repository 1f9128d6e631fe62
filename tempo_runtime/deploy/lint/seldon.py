"""Rules for SeldonDeployments: their graphs and predictors.

Sources are files of SeldonIO/seldon-core; `v1/` is `operator/apis/machinelearning.seldon.io/v1/`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from tempo_runtime.deploy.lint.document import Document, Place
from tempo_runtime.deploy.lint.rules import Hits, rule

KIND = "SeldonDeployment"
PREPACKED = (
    "SKLEARN_SERVER",
    "XGBOOST_SERVER",
    "TENSORFLOW_SERVER",
    "MLFLOW_SERVER",
    "TRITON_SERVER",
    "TEMPO_SERVER",
    "HUGGINGFACE_SERVER",
)
_V2 = ("v2", "kfserving")
_PROTOCOLS = ("seldon", "tensorflow", *_V2)
_NO_ENGINE = "seldon.io/no-engine"
_MODEL = "seldon.io/tempo-model"
_LABEL = 63


def predictors(document: Document) -> Iterator[Place]:
    """Its predictors."""
    return iter(document["spec"]["predictors"])


def nodes(graph: Place) -> Iterator[Place]:
    """The nodes of a graph, its root first."""
    yield graph
    for child in graph["children"]:
        yield from nodes(child)


def direct(predictor: Place) -> bool:
    """Whether calls go past Seldon's engine."""
    return bool(predictor["annotations"][_NO_ENGINE])


@rule(
    "seldon-protocol",
    "error",
    KIND,
    consequence="TEMPO_SERVER and its like get no image, and the Deployment is refused",
    fix="protocol: kfserving, or v2 from Seldon Core 1.13 on",
)
def _protocol(document: Document) -> Hits:
    """A server of MLServer's is asked over protocol `v2` or `kfserving`.

    Source: operator/controllers/seldondeployment_prepackaged_servers.go, helm values.yaml
    """
    protocol = document["spec"]["protocol"]
    if protocol and protocol.text not in _PROTOCOLS:
        yield protocol, f"protocol {protocol.value!r} is none of {', '.join(_PROTOCOLS)}"
        return
    for predictor in predictors(document):
        for node in nodes(predictor["graph"]):
            if node["implementation"].text == "TEMPO_SERVER" and protocol.text not in _V2:
                yield protocol, f"TEMPO_SERVER is asked over {protocol.text or 'no protocol'}"


@rule(
    "seldon-implementation",
    "warning",
    KIND,
    consequence="the webhook refuses it, unless `seldon-config` has a server of that name",
    fix=f"one of {', '.join(PREPACKED)}, or a key of predictor_servers in seldon-config",
)
def _implementation(document: Document) -> Hits:
    """A graph's implementation is one of Seldon Core's servers.

    Source: v1/prepack.go
    """
    for predictor in predictors(document):
        for node in nodes(predictor["graph"]):
            name = node["implementation"]
            if name and name.text not in (*PREPACKED, "UNKNOWN_IMPLEMENTATION", "SIMPLE_MODEL"):
                yield name, f"implementation {name.value!r} is none of Seldon Core's own"


@rule(
    "seldon-model-uri",
    "error",
    KIND,
    consequence="the webhook refuses it",
    fix="set modelUri to where the artefact was uploaded",
)
def _model_uri(document: Document) -> Hits:
    """A server has an artefact to download.

    Source: v1/seldondeployment_webhook.go
    """
    for predictor in predictors(document):
        for node in nodes(predictor["graph"]):
            name = node["implementation"].text
            if name in PREPACKED and name != "HUGGINGFACE_SERVER" and not node["modelUri"].text:
                yield node["modelUri"], f"{name} has no modelUri"


@rule(
    "seldon-no-engine-graph",
    "error",
    KIND,
    consequence="the webhook refuses it",
    fix="remove the annotation, or the children: a pipeline calls its models itself",
)
def _no_engine_graph(document: Document) -> Hits:
    """A graph without an engine has one node.

    Source: v1/seldondeployment_webhook.go
    """
    for predictor in predictors(document):
        if direct(predictor) and list(predictor["graph"]["children"]):
            yield predictor["graph"]["children"], f"{_NO_ENGINE} is set, and the graph has children"


@rule(
    "seldon-engine",
    "warning",
    KIND,
    consequence="calls take one step more, and streams and handlers of one's own are lost",
    fix=f'annotate the predictor with {_NO_ENGINE}: "true"',
)
def _engine(document: Document) -> Hits:
    """A single model is called past Seldon's engine.

    Source: executor/api/rest/server.go
    """
    for predictor in predictors(document):
        if predictor["graph"]["implementation"].text in PREPACKED and not direct(predictor):
            yield predictor["annotations"], f"the predictor has no {_NO_ENGINE}"


@rule(
    "seldon-predictor-names",
    "error",
    KIND,
    consequence="the webhook refuses it",
    fix="give each predictor a name of its own",
)
def _names(document: Document) -> Hits:
    """Predictors have different names.

    Source: v1/seldondeployment_webhook.go
    """
    seen = set()
    for predictor in predictors(document):
        name = predictor["name"]
        if name.text in seen:
            yield name, f"two predictors are called {name.text!r}"
        seen.add(name.text)


@rule(
    "seldon-traffic",
    "error",
    KIND,
    consequence="the webhook refuses it",
    fix="let the traffic of all predictors but shadows come to 100",
)
def _traffic(document: Document) -> Hits:
    """The traffic of several predictors comes to 100.

    Source: v1/seldondeployment_webhook.go
    """
    known = [each for each in predictors(document) if each["shadow"].value is not True]
    total = sum(each["traffic"].number or 0 for each in known)
    if len(known) > 1 and total != 100:
        yield document["spec"]["predictors"], f"the traffic comes to {total}"


@rule(
    "seldon-long-name",
    "warning",
    KIND,
    consequence="the Service is called seldon-MD5, which no one guesses",
    fix="shorter names, or the annotation seldon.io/svc-name on the predictor",
)
def _long(document: Document) -> Hits:
    """The Service of a predictor has a name that can be foreseen.

    Source: v1/seldondeployment_types.go
    """
    for predictor in predictors(document):
        service = f"{document.name}-{predictor['name'].text}"
        if len(service) > _LABEL and not predictor["annotations"]["seldon.io/svc-name"]:
            yield predictor["name"], f"{service} has {len(service)} characters"


@rule(
    "seldon-service-account",
    "warning",
    KIND,
    consequence="without that service account no pod is made; a pipeline of ours needs none",
    fix="leave it out, unless artefacts are downloaded by it",
)
def _account(document: Document) -> Hits:
    """A service account is named where it is needed only.

    Source: operator/controllers/model_initializer_injector.go
    """
    for predictor in predictors(document):
        account = predictor["graph"]["serviceAccountName"]
        if account.text:
            yield account, f"the pods run as {account.text}"


@rule(
    "seldon-deadline",
    "warning",
    KIND,
    consequence="a deployment that cannot come up says `Creating` for ten minutes",
    fix="set progressDeadlineSeconds",
)
def _deadline(document: Document) -> Hits:
    """A predictor says how long it may take to come up."""
    for predictor in predictors(document):
        if not predictor["progressDeadlineSeconds"]:
            yield predictor["progressDeadlineSeconds"], "it says no progressDeadlineSeconds"


@rule(
    "seldon-replicas",
    "warning",
    KIND,
    consequence="each apply sets back what the autoscaler has chosen",
    fix="leave replicas out beside hpaSpec",
)
def _replicas(document: Document) -> Hits:
    """An autoscaler alone says how many pods there are."""
    for predictor in predictors(document):
        for component in predictor["componentSpecs"]:
            for place in (component["replicas"], predictor["replicas"]):
                if component["hpaSpec"] and place:
                    yield place, "replicas are set beside hpaSpec"


@rule(
    "seldon-annotation",
    "error",
    KIND,
    consequence="list_models and get_client make no client of it, or one of another model",
    fix="write it with `tempo-runtime manifest`, and change names there",
)
def _annotation(document: Document) -> Hits:
    """The annotation that describes a model is its own."""
    place = document["metadata"]["annotations"][_MODEL]
    if not place:
        return
    try:
        name = json.loads(place.text)["model_details"]["name"]
    except (ValueError, KeyError, TypeError):
        yield place, f"{_MODEL} is not what describes a model"
        return
    if name != document.name:
        yield place, f"{_MODEL} describes {name!r}"
