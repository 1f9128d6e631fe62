"""The mission's cells "Production Option 2 (Gitops)": its code, and the objects that it shows."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tempo_runtime import PipelineModels, pipeline, predictmethod
from tempo_runtime.lint import lint
from tests.deploy.kubernetes.manifests import models
from tests.deploy.kubernetes.manifests.crds import ROOT, faults
from tests.deploy.kubernetes.manifests.kustomize import kustomized

MISSION = ROOT / "tests" / "data" / "model-explainer-example.md"

# Where ours differs from what the mission shows, and why; docs/kubernetes.md says more. `*` is the one
# predictor, component and container.
PREDICTOR = "spec.predictors.*"
POD = f"{PREDICTOR}.componentSpecs.*.spec"
CONTAINER = f"{POD}.containers.*"
BOTH = {
    "metadata.annotations.seldon.io/tempo-model": "what a client needs, and no folder of its author's",
    "metadata.labels.app.kubernetes.io/managed-by": "says who wrote it",
    f"{PREDICTOR}.progressDeadlineSeconds": "what does not come up is Failed, not Creating",
    f"{CONTAINER}.name": "the graph's node; the mission's `classifier` is a second container",
    f"{CONTAINER}.livenessProbe": "a server that explains answers late",
    f"{CONTAINER}.readinessProbe": "likewise",
    f"{CONTAINER}.securityContext": "no rights that it does not need",
    f"{POD}.securityContext": "not root",
}
DEVIATIONS = {
    "income-explainer": {
        **BOTH,
        f"{CONTAINER}.env": "the address of income-sklearn",
        f"{PREDICTOR}.graph.serviceAccountName": "no pod asks the cluster, so none needs an account",
    },
    "income-sklearn": BOTH,
}


@pipeline(
    name="income-explainer",
    uri="s3://tempo/explainer/pipeline",
    models=PipelineModels(sklearn=models.classifier()),
)
class ExplainerPipeline:
    @predictmethod
    def explain(self, payload: np.ndarray, parameters: dict) -> str:
        return ""


def section() -> str:
    return MISSION.read_text().split("## Production Option 2")[1]


def cell() -> str:
    """Return the mission's code with other import lines."""
    [code] = re.findall(r"```python\n(from tempo import manifest\n.*?)```", section(), re.DOTALL)
    return code.replace("from tempo.serve.metadata ", "from tempo_runtime ").replace(
        "from tempo ", "from tempo_runtime "
    )


def shown() -> dict[str, dict[str, Any]]:
    """The objects that the mission shows, by name."""
    [_, block] = section().split("!kustomize build k8s\n```\n", 1)
    lines = []
    for line in block.splitlines():
        if line.startswith("```"):
            break
        lines.append(line.removeprefix("    "))
    return {each["metadata"]["name"]: each for each in yaml.safe_load_all("\n".join(lines))}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder k8s, after the mission's cell has run beside it."""
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s", ignore=shutil.ignore_patterns("tempo.yaml"))
    monkeypatch.chdir(tmp_path)
    exec(cell(), {"os": os, "explainer": ExplainerPipeline()})
    return tmp_path / "k8s"


def patched(folder: Path) -> list[dict[str, Any]]:
    """Render the folder as kustomize does, as far as it uses kustomize."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    [resource], [patch] = kustomization["resources"], kustomization["patches"]
    found = list(yaml.safe_load_all((folder / resource).read_text()))
    [target] = [each for each in found if each["metadata"]["name"] == patch["target"]["name"]]
    assert target["kind"] == patch["target"]["kind"]
    for change in yaml.safe_load((folder / patch["path"]).read_text()):
        *steps, last = [int(s) if s.isdigit() else s for s in change["path"].split("/")[1:]]
        place: Any = target
        for step in steps:
            place = place[step]
        if change["op"] == "test":
            assert place[last] == change["value"]
        else:
            assert change["op"] == "add"
            place[last] = change["value"]
    return found


def differences(ours: Any, theirs: Any, path: str = "") -> set[str]:
    """Paths of what is not the same; of what only one has, the outermost."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found: set[str] = set()
        for key in ours.keys() | theirs.keys():
            if key in ours and key in theirs:
                found |= differences(ours[key], theirs[key], f"{path}.{key}")
            else:
                found.add(f"{path}.{key}")
        return {each.removeprefix(".") for each in found}
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return {each for pair in zip(ours, theirs) for each in differences(*pair, f"{path}.*")}
    return set() if ours == theirs else {path}


def expanded(deployment: dict[str, Any]) -> dict[str, Any]:
    """With the container that the mission's leaves out, so that what is in ours is compared."""
    for predictor in deployment["spec"]["predictors"]:
        predictor.setdefault("componentSpecs", [{"spec": {"containers": [{}]}}])
    return deployment


def test_the_missions_objects_are_generated_except_for_the_listed_differences(
    written: Path,
) -> None:
    expected = shown()
    ours = {each["metadata"]["name"]: each for each in patched(written)}
    assert list(ours) == list(expected)
    for name, reasons in DEVIATIONS.items():
        assert differences(ours[name], expanded(expected[name])) == set(reasons)


def test_a_cluster_takes_what_the_patch_makes(written: Path) -> None:
    for each in patched(written):
        assert faults(each) == []


def test_the_patch_is_of_the_container_that_seldon_core_looks_for(written: Path) -> None:
    [explainer, _] = patched(written)
    [predictor] = explainer["spec"]["predictors"]
    [container] = predictor["componentSpecs"][0]["spec"]["containers"]
    assert container["name"] == predictor["graph"]["name"] == "income-explainer"
    assert container["resources"]["limits"] == {"cpu": 1, "memory": "1Gi"}
    assert "income-sklearn" in models.variables(container)["TEMPO_RUNTIME_MODELS"]


def test_kustomize_makes_the_same_of_it(written: Path) -> None:
    done = kustomized(written)
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    by_name = {each["metadata"]["name"]: each for each in built}
    assert by_name == {each["metadata"]["name"]: each for each in patched(written)}
    assert [each for each in lint(done.stdout) if each.severity == "error"] == []


def test_the_patch_fails_where_the_container_has_another_name(written: Path) -> None:
    file = written / "tempo.yaml"
    file.write_text(file.read_text().replace("- name: income-explainer", "- name: classifier"))
    done = kustomized(written)
    assert done.returncode != 0
    assert "containers/0/name" in done.stderr


def test_the_docs_state_what_differs() -> None:
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    for path in {path for reasons in DEVIATIONS.values() for path in reasons}:
        field = path.rpartition(".*.")[2].removeprefix("metadata.").removeprefix("spec.")
        assert f"`{field}`" in text, path
