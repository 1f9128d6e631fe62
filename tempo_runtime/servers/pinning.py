"""Prepare a model that must meet a trust policy for a server.

Its files are checked here, before a server is started, and again by the server, which opens a checked
copy. So only the digests are kept here, and settings that do not lead to other files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tempo_runtime._util import atomic_files
from tempo_runtime.artifact import declaration, store, trust, verification
from tempo_runtime.errors import ArtifactDamaged, ArtifactUntrusted, SettingsError
from tempo_runtime.servers.repository import parameters_of, read
from tempo_runtime.settings import PipelineSettings

# MLServer accepts both names.
_IMPLEMENTATION = ("implementation", "MLSERVER_MODEL_IMPLEMENTATION")
_REMEDY = "no signature or digest covers it; remove it"


@dataclass(frozen=True)
class Shown:
    """The digests of a model that meets its trust policy.

    Attributes:
        digest: Its digest.
        environment: SHA-256 of its packed environment; None if it is served without one.
        opened: The artifact, if it is a pipeline.
    """

    digest: str
    environment: str | None
    opened: store.OpenedArtifact | None = None


def is_pipeline(place: str, settings: Mapping[str, Any]) -> bool:
    """Return whether a model has a tempo.json that must meet the trust policy.

    Args:
        place: Its folder or its only file.
        settings: Its model-settings.json.
    """
    if settings.get("implementation") == declaration.IMPLEMENTATION:
        return True
    uri = str(parameters_of(settings).get("uri") or "")
    return os.path.isfile(os.path.join(place, uri, atomic_files.DESCRIPTION))


def read_model(
    place: str, demands: trust.TrustPolicy
) -> tuple[dict[str, Any] | None, Mapping[str, str]]:
    """Check a model that is not a pipeline, and read its settings from its own files.

    Args:
        place: Its folder or its only file.
        demands: Its trust policy.

    Returns:
        Its model-settings.json or None, and the SHA-256 of each file by path.

    Raises:
        ArtifactError: If its files cannot be read, or do not meet the policy.
    """
    copy = verification.copy_model(place, demands)
    digests = atomic_files.digests(copy.place)
    if store.MODEL_SETTINGS not in digests:
        return None, digests
    try:
        return read(os.path.join(copy.folder, store.MODEL_SETTINGS)), digests
    except ArtifactDamaged as error:
        raise ArtifactDamaged(str(error).replace(copy.folder, place)) from error


def of_model(settings: Mapping[str, Any], place: str, digests: Mapping[str, str]) -> Shown:
    """Refuse settings that lead to files other than a model's checked ones.

    Args:
        settings: Its model-settings.json, with absolute paths.
        place: Its folder or its only file.
        digests: SHA-256 of each of its files, by path.

    Raises:
        ArtifactUntrusted: If they do.
        SettingsError: If they do not name the class that serves it.
    """
    settings_path = os.path.join(place, store.MODEL_SETTINGS)
    if not settings.get("implementation"):
        raise SettingsError(
            f"{settings_path} sets no implementation; set it to an MLServer runtime class, and save the "
            "pipeline that calls this model again"
        )
    uri = parameters_of(settings)["uri"]
    if os.path.relpath(uri, place).split(os.sep)[0] == os.pardir:
        raise ArtifactUntrusted(
            f"{settings_path} sets parameters.uri to {uri}, outside of {place}, but the demanded digest "
            "covers only that folder; move the files there"
        )
    return Shown(
        trust.digest_of_files(digests), _environment(settings, place, settings_path, digests)
    )


def of_pipeline(
    settings: Mapping[str, Any], folder: str, demands: trust.TrustPolicy, *, to_run: bool
) -> Shown:
    """Check a pipeline, and refuse settings that choose other code than its own.

    Args:
        settings: Its model-settings.json, with absolute paths.
        folder: Where that file is.
        demands: The artifact's trust policy.
        to_run: Whether this Python will run it.

    Raises:
        ArtifactError: If the artifact does not meet the policy.
        ArtifactUntrusted: If there are such settings.
        SettingsError: If a digest in them is not a valid digest.
    """
    parameters = parameters_of(settings)
    all_demands = demands.and_(trust.TrustPolicy.of_settings(parameters.get("extra") or {}))
    opened = store.verify_folder(parameters["uri"], all_demands, to_run=to_run)
    environment = refuse_unsigned(settings, folder, opened)
    return Shown(opened.description.digest, environment, opened)


def refuse_unsigned(
    settings: Mapping[str, Any], folder: str, opened: store.OpenedArtifact
) -> str | None:
    """Refuse settings of a pipeline that choose other code than its own.

    Args:
        settings: Its model-settings.json, with absolute paths.
        folder: Where that file is.
        opened: The artifact.

    Returns:
        SHA-256 of its packed environment; None if it is served without one.

    Raises:
        ArtifactUntrusted: If there are such settings.
    """
    settings_path = os.path.join(folder, store.MODEL_SETTINGS)
    for name in _IMPLEMENTATION:
        if settings.get(name) not in (None, declaration.IMPLEMENTATION):
            raise ArtifactUntrusted(
                f"{settings_path} sets {name} to {settings[name]!r}, and {_REMEDY}"
            )
    extra = parameters_of(settings).get("extra") or {}
    verification.refuse_unsigned_settings(folder, PipelineSettings.read(extra, {}).models)
    return _environment(settings, opened.origin, settings_path, opened.description.files)


def _environment(
    settings: Mapping[str, Any], place: str, settings_path: str, digests: Mapping[str, str]
) -> str | None:
    parameters = parameters_of(settings)
    if path := parameters.get("environment_path"):
        raise ArtifactUntrusted(
            f"{settings_path} sets parameters.environment_path to {path}, and {_REMEDY}"
        )
    tarball = parameters.get("environment_tarball")
    if not tarball:
        return None
    digest = digests.get(os.path.relpath(tarball, place))
    if digest is None:
        raise ArtifactUntrusted(
            f"{settings_path} sets parameters.environment_tarball to {tarball}, and {_REMEDY}"
        )
    return digest
