"""Checks of an artifact on a machine. None of its code is run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from tempo_runtime._util import atomic_files
from tempo_runtime.artifact import store, trust
from tempo_runtime.artifact.description import Description
from tempo_runtime.cli.doctor.facts import Facts, normal
from tempo_runtime.cli.doctor.findings import Finding
from tempo_runtime.errors import ArtifactIncompatible, ArtifactUntrusted, TempoError
from tempo_runtime.servers import model_set, repository


def examine(folder: str, facts: Facts) -> list[Finding]:
    """Run all checks of an artifact.

    Raises:
        ArtifactError: If the folder is not an artifact.
    """
    description = store.read_description(folder, to_run=False)
    settings = repository.read(os.path.join(folder, store.MODEL_SETTINGS))
    setting = repository.server_settings(folder).get("parallel_workers")
    findings = [
        *python(description, settings, facts),
        *packages(description, settings, facts),
        *workers(settings, facts, setting),
        *_complete(folder, description),
        *_served(folder, facts),
        *_trusted(folder, description, facts),
    ]
    return list(dict.fromkeys(findings))  # two checks may both report that it is not trusted


def python(
    description: Description, settings: Mapping[str, Any], facts: Facts
) -> Iterator[Finding]:
    """Check that Python's minor version is the same, because a pickle holds bytecode."""
    here, saved = "{}.{}".format(*facts.python), description.python
    if saved == here:
        yield Finding("saved with Python", "ok", saved)
    elif _packed(settings):
        yield Finding("saved with Python", "ok", f"{saved}, provided by its environment")
    else:
        yield Finding(
            "saved with Python",
            "problem",
            f"{saved}, but this is {here}: a pickle holds bytecode",
            f"serve it with Python {saved}, or save it again with this one",
        )


def packages(
    description: Description, settings: Mapping[str, Any], facts: Facts
) -> Iterator[Finding]:
    """Check that the packages its code comes from have the versions it was saved with."""
    wanted = description.packages
    different = {
        name: (version, facts.packages.get(normal(name)))
        for name, version in wanted.items()
        if facts.packages.get(normal(name)) != version
    }
    if not different or _packed(settings):
        listed = ", ".join(f"{name} {version}" for name, version in wanted.items())
        yield Finding("packages", "ok", listed or "it needs none")
        return
    for name, (version, here) in different.items():
        yield Finding(
            name,
            "warning" if here else "problem",
            f"{here or 'not installed'}, but it was saved with {version}",
            f"pip install '{name}=={version}'",
        )


def workers(settings: Mapping[str, Any], facts: Facts, setting: Any) -> Iterator[Finding]:
    """Check that a parallel worker runs, without which MLServer ignores a model's own environment.

    Args:
        settings: Its model-settings.json.
        facts: The machine.
        setting: `parallel_workers` of its settings.json.
    """
    if not _packed(settings):
        return
    count = facts.environ.get("MLSERVER_PARALLEL_WORKERS", setting)
    if count is not None and str(count) == "0":
        yield Finding(
            "parallel workers",
            "problem",
            "0: without a worker, MLServer ignores environment_tarball",
            "set parallel_workers to 1 in settings.json, and unset MLSERVER_PARALLEL_WORKERS",
        )


def _complete(folder: str, description: Description) -> Iterator[Finding]:
    try:
        for _ in atomic_files.verified(folder, description.files, lambda path: False):
            pass
        yield Finding("files", "ok", "every file is as it was saved")
    except TempoError as error:
        yield _problem("files", error)


def _served(folder: str, facts: Facts) -> Iterator[Finding]:
    """Check its settings, its children, and the runtimes that serve them."""
    try:
        models = model_set.gather([folder], environ=facts.environ)
    except ArtifactIncompatible:
        return  # `python` reports it
    except ArtifactUntrusted as error:
        yield _problem("trust", error)
        return
    except TempoError as error:
        yield _problem("children", error)
        return
    calls = next(iter(models.values())).calls
    listed = ", ".join(f"{alias}: {child}" for alias, child in calls.items())
    yield Finding("children", "ok", listed or "none")


def _trusted(folder: str, description: Description, facts: Facts) -> Iterator[Finding]:
    try:
        policy = trust.TrustPolicy.of_environment(facts.environ)
        policy.check(os.path.abspath(folder), description)
    except TempoError as error:
        yield _problem("trust", error)
        return
    if policy.digests or policy.keys:
        yield Finding("trust", "ok", "it meets the requirements of this environment")
    else:
        text = "no digest or signature is required here, although a pickle is code"
        remedy = f"{trust.EXPECTED_DIGEST}={description.digest}"
        yield Finding("trust", "info", text, f"to require this digest: {remedy}")


def _packed(settings: Mapping[str, Any]) -> bool:
    return bool(repository.parameters_of(settings).get("environment_tarball"))


def _problem(check: str, error: TempoError) -> Finding:
    what, _, remedy = str(error).partition("; ")
    return Finding(check, "problem", what, remedy)
