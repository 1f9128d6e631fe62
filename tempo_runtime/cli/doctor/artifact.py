"""Checks of an artifact on a machine. Nothing of it is run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from tempo_runtime._util import atomic_files
from tempo_runtime.artifact import store, trust
from tempo_runtime.cli.doctor.facts import Facts, normal
from tempo_runtime.cli.doctor.findings import Finding
from tempo_runtime.errors import ArtifactIncompatible, ArtifactUntrusted, TempoError
from tempo_runtime.servers import model_set, repository


def examine(folder: str, facts: Facts) -> list[Finding]:
    """All that is found of an artifact.

    Raises:
        ArtifactError: If it is not one.
    """
    manifest = store.read_manifest(folder, to_run=False)
    settings = repository.read(os.path.join(folder, store.MODEL_SETTINGS))
    stated = repository.server_settings(folder).get("parallel_workers")
    findings = [
        *python(manifest, settings, facts),
        *packages(manifest, settings, facts),
        *workers(settings, facts, stated),
        *_whole(folder, manifest),
        *_served(folder, facts),
        *_demands(folder, manifest, facts),
    ]
    return list(dict.fromkeys(findings))  # two checks may find that it does not meet the demands


def python(
    manifest: Mapping[str, Any], settings: Mapping[str, Any], facts: Facts
) -> Iterator[Finding]:
    """A pickle holds bytecode, which is of one minor version."""
    here, saved = "{}.{}".format(*facts.python), str(manifest.get("python"))
    if saved == here:
        yield Finding("saved with Python", "ok", saved)
    elif _packed(settings):
        yield Finding("saved with Python", "ok", f"{saved}, which its environment brings")
    else:
        yield Finding(
            "saved with Python",
            "problem",
            f"{saved}, and this is {here}: a pickle holds bytecode",
            f"serve it with Python {saved}, or save it again with this one",
        )


def packages(
    manifest: Mapping[str, Any], settings: Mapping[str, Any], facts: Facts
) -> Iterator[Finding]:
    """The packages that its code is from, as they were and as they are here."""
    wanted = manifest.get("packages") or {}
    other = {
        name: (version, facts.packages.get(normal(name)))
        for name, version in wanted.items()
        if facts.packages.get(normal(name)) != version
    }
    if not other or _packed(settings):
        listed = ", ".join(f"{name} {version}" for name, version in wanted.items())
        yield Finding("packages", "ok", listed or "it needs none")
        return
    for name, (version, here) in other.items():
        yield Finding(
            name,
            "warning" if here else "problem",
            f"{here or 'not installed'}, and it was saved with {version}",
            f"pip install '{name}=={version}'",
        )


def workers(settings: Mapping[str, Any], facts: Facts, stated: Any) -> Iterator[Finding]:
    """MLServer uses an environment of a model's own in a parallel worker, and ignores it elsewhere.

    Args:
        settings: Its model-settings.json.
        facts: The machine.
        stated: `parallel_workers` of its settings.json.
    """
    if not _packed(settings):
        return
    asked = facts.environ.get("MLSERVER_PARALLEL_WORKERS", stated)
    if asked is not None and str(asked) == "0":
        yield Finding(
            "parallel workers",
            "problem",
            "0: MLServer ignores environment_tarball without one",
            "set parallel_workers to 1 in settings.json, and unset MLSERVER_PARALLEL_WORKERS",
        )


def _whole(folder: str, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    try:
        for _ in atomic_files.verified(folder, manifest["files"], lambda path: False):
            pass
        yield Finding("files", "ok", "every file is the one that was saved")
    except TempoError as error:
        yield _problem("files", error)


def _served(folder: str, facts: Facts) -> Iterator[Finding]:
    """Its settings, its children, and what serves them."""
    try:
        models = model_set.gather([folder], environ=facts.environ)
    except ArtifactIncompatible:
        return  # said by `python`
    except ArtifactUntrusted as error:
        yield _problem("trust", error)
        return
    except TempoError as error:
        yield _problem("children", error)
        return
    calls = next(iter(models.values())).calls
    found = ", ".join(f"{alias}: {child}" for alias, child in calls.items())
    yield Finding("children", "ok", found or "it calls none")


def _demands(folder: str, manifest: Mapping[str, Any], facts: Facts) -> Iterator[Finding]:
    try:
        demands = trust.TrustPolicy.of_environment(facts.environ)
        demands.check(os.path.abspath(folder), manifest)
    except TempoError as error:
        yield _problem("trust", error)
        return
    if demands.digests or demands.keys:
        yield Finding("trust", "ok", "it is what this environment demands")
    else:
        told = "no digest and no signature is demanded here, and a pickle is code"
        remedy = f"{trust.EXPECTED_DIGEST}={trust.digest_of(manifest)}"
        yield Finding("trust", "info", told, f"to demand this one: {remedy}")


def _packed(settings: Mapping[str, Any]) -> bool:
    return bool(repository.parameters_of(settings).get("environment_tarball"))


def _problem(check: str, error: TempoError) -> Finding:
    found, _, remedy = str(error).partition("; ")
    return Finding(check, "problem", found, remedy)
