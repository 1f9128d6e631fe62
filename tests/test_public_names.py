"""The names of the package, and what importing it costs."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import types
from pathlib import Path

import pytest

import tempo_runtime
from tempo_runtime import kubernetes

NAMES = [
    "ArtifactDamaged",
    "ArtifactError",
    "ArtifactIncompatible",
    "ArtifactMissing",
    "ArtifactUntrusted",
    "AuthoringError",
    "Batching",
    "BudgetExceeded",
    "CheckFailed",
    "Child",
    "ChildError",
    "ChildFailed",
    "ChildNotFound",
    "ChildUnavailable",
    "Children",
    "Columns",
    "CurrentRequest",
    "DeadlineExceeded",
    "DeploymentFailed",
    "DockerOptions",
    "EnvironmentFailed",
    "Explanation",
    "InsightsOptions",
    "KServeOptions",
    "LocalOptions",
    "Model",
    "ModelFramework",
    "NotReady",
    "OriginRefused",
    "Overloaded",
    "PayloadError",
    "Pipeline",
    "PipelineFailed",
    "PipelineModels",
    "RemoteModel",
    "RequestError",
    "RequestNotLogged",
    "Seldon2Options",
    "SeldonCoreOptions",
    "ServingFailed",
    "SettingsError",
    "State",
    "StateError",
    "StateOptions",
    "StateUnavailable",
    "StorageError",
    "TempoError",
    "TempoPipelineRuntime",
    "connect",
    "create_minio_rclone",
    "current_request",
    "deploy_local",
    "deploy_remote",
    "describe",
    "download",
    "inspect",
    "load",
    "loadmethod",
    "manifest",
    "model",
    "pipeline",
    "predictmethod",
    "save",
    "upload",
]
HEAVY = [
    "rich",
    "mlserver",
    "alibi",
    "sklearn",
    "pandas",
    "numpy",
    "httpx",
    "dill",
    "kubernetes",
    "docker",
    "grpc",
]


def test_the_public_names_are_these_in_order() -> None:
    assert tempo_runtime.__all__ == NAMES == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_name_exists_and_is_not_a_module(name: str) -> None:
    found = getattr(tempo_runtime, name)
    assert callable(found)
    assert not isinstance(found, types.ModuleType)
    assert found.__name__ == name


def type_checked_names(module: types.ModuleType) -> dict[str, str]:
    """The names that a type checker sees in a module, each with the module that it comes from."""
    tree = ast.parse(Path(str(module.__file__)).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert len(imports) == len(block.body)
    names = [(alias, str(node.module)) for node in imports for alias in node.names]
    assert all(alias.asname == alias.name for alias, _ in names), "only `X as X` is re-exported"
    return {alias.name: home for alias, home in names}


def test_type_checkers_see_the_names_that_are_looked_up() -> None:
    for module, package in [
        (tempo_runtime, "tempo_runtime"),
        (kubernetes, "tempo_runtime.deploy.kubernetes"),
    ]:
        looked_up = {name: f"{package}.{home}" for name, home in module._HOMES.items()}
        assert type_checked_names(module) == looked_up


def test_dir_lists_the_names_and_the_version() -> None:
    assert set(dir(tempo_runtime)) == {*NAMES, "__version__"}


def test_a_star_import_brings_the_names() -> None:
    scope: dict[str, object] = {}
    exec("from tempo_runtime import *", scope)
    assert set(NAMES) <= set(scope)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'tempo_runtime' has no attribute 'pipelin'"):
        _ = tempo_runtime.pipelin


def run(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("line", ["import tempo_runtime", "from tempo_runtime import TempoError"])
def test_importing_the_package_imports_nothing_heavy(line: str) -> None:
    assert run(f"import sys; {line}; print(set({HEAVY}) & set(sys.modules))") == "set()"


def test_the_names_for_kubernetes_are_these_and_importing_them_imports_nothing_heavy() -> None:
    names = [
        "Canary",
        "KServeRemote",
        "Logger",
        "ModelOptions",
        "Probe",
        "Resources",
        "Seldon2Remote",
        "SeldonRemote",
        "Toleration",
        "deploy_remote",
        "diff",
        "get_client",
        "list_models",
        "logs",
        "status",
        "undeploy",
        "wait",
    ]
    assert kubernetes.__all__ == names == dir(kubernetes)
    assert all(callable(getattr(kubernetes, name)) for name in names)
    assert kubernetes.deploy_remote is tempo_runtime.deploy_remote
    with pytest.raises(
        AttributeError, match=r"'tempo_runtime\.kubernetes' has no attribute 'deploy'"
    ):
        _ = kubernetes.deploy
    heavy = "import sys; import tempo_runtime.kubernetes; "
    assert run(f"{heavy}print(set({HEAVY}) & set(sys.modules))") == "set()"


def test_a_reload_keeps_the_class_that_mlserver_looks_up() -> None:
    before = tempo_runtime.TempoPipelineRuntime
    assert importlib.reload(tempo_runtime) is tempo_runtime
    assert tempo_runtime.TempoPipelineRuntime is before
