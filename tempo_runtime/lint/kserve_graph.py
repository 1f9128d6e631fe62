"""Rules for KServe's InferenceGraph."""

from __future__ import annotations

from tempo_runtime._util.yaml_document import Document, Run
from tempo_runtime.lint.rules import Hits, across, rule

GRAPH = "InferenceGraph"
_TARGETS = ("nodeName", "serviceName", "serviceUrl")


@rule(
    "kserve-graph-nodes",
    "error",
    GRAPH,
    consequence="The webhook refuses it, or the router does not find the node.",
    fix="name a node of this graph; the first node is named root",
)
def nodes(document: Document) -> Hits:
    """A graph has a node `root`, and each node that a step names.

    Source: pkg/apis/serving/v1alpha1/inference_graph_validation.go.
    """
    place = document["spec"]["nodes"]
    names = [name for name, _ in place.items()]
    if "root" not in names:
        yield place, "there is no node 'root'"
    for _, node in place.items():
        for step in node["steps"]:
            if step["nodeName"].text and step["nodeName"].text not in names:
                yield step["nodeName"], f"there is no node {step['nodeName'].text!r:.80}"


@rule(
    "kserve-graph-steps",
    "error",
    GRAPH,
    consequence="The webhook refuses it.",
    fix="give each step its own name, and one of nodeName, serviceName and serviceUrl",
)
def steps(document: Document) -> Hits:
    """A step has one target, and a name that is unique in its node.

    Source: pkg/apis/serving/v1alpha1/inference_graph_validation.go.
    """
    for _, node in document["spec"]["nodes"].items():
        seen = set()
        for step in node["steps"]:
            targets = [name for name in _TARGETS if step[name].text]
            if len(targets) != 1:
                yield step, f"the step has {' and '.join(targets) or 'no target'}"
            if step["name"].text and step["name"].text in seen:
                yield step["name"], f"there are two steps {step['name'].text!r}"
            seen.add(step["name"].text)


@rule(
    "kserve-graph-weights",
    "error",
    GRAPH,
    consequence="The webhook refuses it.",
    fix="give each step of a Splitter a weight, 100 together",
)
def weights(document: Document) -> Hits:
    """The weights of a Splitter add up to 100.

    Source: pkg/apis/serving/v1alpha1/inference_graph_validation.go.
    """
    for _, node in document["spec"]["nodes"].items():
        given = [step["weight"].number for step in node["steps"]]
        if node["routerType"].value == "Splitter" and (
            None in given or sum(weight or 0 for weight in given) != 100
        ):
            yield node["steps"], f"the weights are {given!r:.80}"


@across(
    "kserve-graph-service",
    "warning",
    GRAPH,
    consequence="Unless the cluster already has it, calls of that step fail.",
    fix="correct the name, or add the InferenceService",
)
def service(document: Document, run: Run) -> Hits:
    """A service that a step names is in these files, if they have services."""
    known = {other.name for other in run.of("InferenceService", GRAPH)}
    for _, node in document["spec"]["nodes"].items():
        for step in node["steps"]:
            name = step["serviceName"].text
            if name and run.of("InferenceService") and name not in known:
                yield step["serviceName"], f"there is no InferenceService {name!r:.80}"


@rule(
    "kserve-graph-timeout",
    "warning",
    GRAPH,
    consequence="The router waits for each step without a limit.",
    fix="set routerTimeouts: {serviceClient: 60}",
)
def timeout(document: Document) -> Hits:
    """The router of a graph has a time limit for its calls.

    Source: cmd/router/main.go:94-170.
    """
    if not document["spec"]["routerTimeouts"]["serviceClient"]:
        yield document["spec"], "it has no routerTimeouts.serviceClient"
