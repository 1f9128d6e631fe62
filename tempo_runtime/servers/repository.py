"""Write the folder that MLServer reads: its own settings, and those of each model."""

from __future__ import annotations

import copy
import glob
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from tempo_runtime._util import atomic_files, json_files
from tempo_runtime._util.ports import HOST
from tempo_runtime._util.printable import shortened
from tempo_runtime.artifact import declaration, store, trust
from tempo_runtime.authoring.details import ModelFramework
from tempo_runtime.errors import (
    ArtifactDamaged,
    ArtifactMissing,
    ArtifactUntrusted,
    SettingsError,
)
from tempo_runtime.execution import frameworks
from tempo_runtime.servers import uncollected
from tempo_runtime.settings import DRAIN_TIMEOUT, ServerSettings, drain_timeout

SERVER_SETTINGS = "settings.json"
# A settings.json overrides these.
SERVER_DEFAULTS = {"parallel_workers": 0, "debug": False, "host": HOST}
# Classes of MLServer, and those that this package starts in their place.
_OUR_RUNTIMES = {
    frameworks.IMPLEMENTATIONS[ModelFramework.SKLearn]: frameworks.SERVED_SKLEARN,
}
_FALSE = ("false", "0", "no", "off", "f", "n")
_BEYOND_DRAIN = 5.0  # seconds after the drain_timeout within which a server has ended
_PATHS = ("uri", "environment_tarball", "environment_path")


@dataclass(frozen=True)
class Sibling:
    """A child that the same server, or another one of the deployment, serves.

    Attributes:
        model: Name it is served under.
        transport: How it is called: `http` or `grpc`.
    """

    model: str
    transport: str


@dataclass(frozen=True)
class Served:
    """A model that a server serves.

    Attributes:
        name: Name it is served under.
        settings: Its model-settings.json, with absolute paths.
        folder: Folder of its settings and of the code that they name.
        calls: How a pipeline reaches each child, by the child's alias in the pipeline.
        siblings: The children with their own server or on the same server, by alias; also those of
            pipelines in its process.
        inside: Folders on this machine of the children in its process, or with code that it needs.
        digests: If it has a trust policy: its digest, and those of pipelines in its process that its own
            description does not pin. Its server must find the same digests.
        environment: SHA-256 of its packed environment, if it has a trust policy.
    """

    name: str
    settings: dict[str, Any]
    folder: str
    calls: dict[str, str] = field(default_factory=dict)
    siblings: dict[str, Sibling] = field(default_factory=dict)
    inside: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    environment: str | None = None

    @property
    def place(self) -> str:
        """Its artifact, or its folder or file."""
        return str(parameters_of(self.settings).get("uri") or self.folder)

    @property
    def packed(self) -> bool:
        """Whether it runs in its own environment, which requires a parallel worker."""
        return bool(parameters_of(self.settings).get("environment_tarball"))


def settings_files(folder: str | os.PathLike[str]) -> list[str]:
    """Return the path of a folder's model-settings.json, or those of the folders in it.

    Raises:
        ArtifactMissing: If no folder has this file.
    """
    folder = os.path.abspath(folder)
    own_settings = os.path.join(folder, store.MODEL_SETTINGS)
    if os.path.isfile(own_settings):
        return [own_settings]
    pattern = os.path.join(glob.escape(folder), "**", store.MODEL_SETTINGS)
    files = sorted(glob.glob(pattern, recursive=True))
    if not files:
        raise ArtifactMissing(
            f"there is no model in {folder}: neither it nor a folder in it has a "
            f"{store.MODEL_SETTINGS}; tempo_runtime.save writes one"
        )
    return files


def located(settings: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Return the content of a model-settings.json with absolute paths, so that it works elsewhere.

    Raises:
        ArtifactDamaged: If its parameters, or those used here, have the wrong type.
    """
    located_settings = copy.deepcopy(dict(settings))
    parameters = located_settings["parameters"] = located_settings.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise ArtifactDamaged(
            f"{folder}: `parameters` of its {store.MODEL_SETTINGS} is not a JSON object; correct it"
        )
    if not isinstance(parameters.get("extra") or {}, dict):
        raise ArtifactDamaged(
            f"{folder}: parameters.extra of its {store.MODEL_SETTINGS} is not a JSON object; correct it"
        )
    if parameters.get("uri") is None:
        parameters["uri"] = "."
    for name in _PATHS:
        path = parameters.get(name)
        if path is not None and not isinstance(path, str):
            raise ArtifactDamaged(
                f"{folder}: parameters.{name} of its {store.MODEL_SETTINGS} must be text, not "
                f"{path!r:.80}; correct it"
            )
        if path and not urlsplit(path).scheme:
            parameters[name] = os.path.normpath(os.path.join(folder, os.path.expanduser(path)))
    return located_settings


def check(
    settings: Mapping[str, Any], folder: str, environ: Mapping[str, str] = os.environ
) -> None:
    """Refuse a model-settings.json that MLServer cannot read, because it would skip that model.

    Args:
        settings: Its content.
        folder: Its folder.
        environ: The server's environment.

    Raises:
        SettingsError: If it is invalid; the message names the fields.
    """
    with uncollected.imports():  # it takes a second
        from mlserver import ModelSettings

    implementation = environ.get("MLSERVER_MODEL_IMPLEMENTATION")
    given = {"implementation": implementation} if implementation else {}
    try:
        ModelSettings.model_validate({**given, **settings})
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise SettingsError(
            f"{folder}: its {store.MODEL_SETTINGS} is invalid: {faults}; correct it"
        ) from error


def with_access_log(model: Served, chosen: str | None, usual: str) -> Served:
    """Return a pipeline with an access log, and any other model as it is.

    Args:
        model: The model.
        chosen: The form of the log; None for the one in the pipeline's settings.
        usual: The form if its settings have none.
    """
    if model.settings.get("implementation") != declaration.IMPLEMENTATION:
        return model
    settings = copy.deepcopy(model.settings)
    extra = parameters_of(settings).get("extra") or {}
    access_log = chosen or extra.get("access_log") or usual
    settings["parameters"] = {
        **parameters_of(settings),
        "extra": {**extra, "access_log": access_log},
    }
    return replace(model, settings=settings)


def write(
    root: str | os.PathLike[str], models: Iterable[Served], server: Mapping[str, Any]
) -> None:
    """Write the folder for `mlserver start`.

    Args:
        root: An empty folder.
        models: The models to serve.
        server: The content of settings.json.

    Raises:
        ArtifactDamaged: If a model's name cannot be the name of a folder there.
    """
    Path(root, SERVER_SETTINGS).write_text(json.dumps(server))
    for model in models:
        place = Path(root, model.name)
        inside = place.parent == Path(root) and place.name == model.name
        try:
            if not inside:
                raise ValueError("a folder cannot have that name")
            place.mkdir()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ArtifactDamaged(
                f"{model.folder}: {shortened(model.name)!r} is not a valid model name ({reason}); "
                "correct it"
            ) from error
        rewrite(root, model)
        # MLServer looks for the code that a model's settings name in their folder.
        for path in code(model):
            (place / os.path.basename(path)).symlink_to(path)


def rewrite(root: str | os.PathLike[str], model: Served) -> None:
    """Write the settings of a model that has its folder already; its server reads them when it loads it.

    Args:
        root: The folder that `write` has made.
        model: The model.
    """
    place = os.path.join(root, model.name)
    settings = _pinned(model, place) if model.digests else model.settings
    if not model.packed and not parameters_of(settings).get("environment_path"):
        # Another environment may not have this package.
        settings = declaration.with_runtimes(settings, _OUR_RUNTIMES)
    atomic_files.write(place, store.MODEL_SETTINGS, json.dumps(settings).encode())


def _pinned(model: Served, place: str) -> dict[str, Any]:
    """Return settings with which the server opens only checked files.

    A pipeline's runtime checks it again, and `children.with_code` any other model. MLServer itself
    unpacks an environment, so it gets a checked copy.
    """
    settings, parameters = model.settings, dict(parameters_of(model.settings))
    expected = {trust.EXPECTED_DIGEST_SETTING: ",".join(model.digests)}
    parameters["extra"] = {**(parameters.get("extra") or {}), **expected}
    if model.environment is not None:
        folder, name = os.path.split(parameters["environment_tarball"])
        atomic_files.copy_verified(folder, {name: model.environment}, place)
        parameters["environment_tarball"] = os.path.join(place, name)
    settings = {**settings, "parameters": parameters}
    if settings["implementation"] == declaration.IMPLEMENTATION:
        return settings
    return declaration.with_copy(settings, model.folder)


def code(model: Served) -> list[str]:
    """List the Python files next to a model's settings, which they may name.

    Empty if the model has a trust policy: then the server imports the code from a checked copy.
    """
    if model.digests or not os.path.isdir(model.folder):
        return []
    return sorted(map(str, Path(model.folder).glob("*.py")))


def server_settings(
    folder: str | os.PathLike[str] | None, demands: trust.TrustPolicy | None = None
) -> dict[str, Any]:
    """Read the settings.json of a folder; return an empty dict if the file does not exist.

    Paths in it are made absolute: a server runs in another folder.

    Args:
        folder: The folder.
        demands: The trust policy for everything that the server runs.

    Raises:
        ArtifactDamaged: If it is not a JSON object.
        ArtifactUntrusted: If there are demands, and the folder is not an artifact that meets them and
            names the file.
        SettingsError: If a file that it names does not exist.
    """
    path = os.path.join(folder, SERVER_SETTINGS) if folder is not None else ""
    if folder is None or not os.path.lexists(path):
        return {}
    if demands:
        if not os.path.isfile(os.path.join(folder, atomic_files.DESCRIPTION)):
            raise ArtifactUntrusted(
                f"{path} configures the server, but no signature or digest covers it; remove it, and set "
                "MLSERVER_... variables instead"
            )
        opened = store.verify_folder(os.fspath(folder), demands, to_run=False)
        settings = read(os.path.join(opened.folder, SERVER_SETTINGS))
        named = settings.get("logging_settings")
        if isinstance(named, str):  # the checked copy no longer exists when the server starts
            settings["logging_settings"] = read(os.path.join(opened.folder, named))
        return settings
    settings = read(path)
    named = settings.get("logging_settings")
    if isinstance(named, str):
        # `mlserver start` looks it up in the working directory.
        places = [os.path.abspath(os.path.join(start, named)) for start in (folder, "")]
        existing = [place for place in places if os.path.isfile(place)]
        if not existing:
            raise SettingsError(
                f"{path}: the file {shortened(named)} in logging_settings does not exist; correct it"
            )
        settings["logging_settings"] = existing[0]
    return settings


def refuse_unloaded(settings: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> None:
    """Refuse settings with which a server loads no models, because we wait until they are loaded.

    Args:
        settings: Its settings.json.
        environ: Its environment.

    Raises:
        SettingsError: If it would load none.
    """
    name = "load_models_at_startup"
    value = settings.get(name)
    where = f"{name} in {SERVER_SETTINGS}"
    if value is None:
        where = f"MLSERVER_{name.upper()}"
        value = environ.get(where, "true")
    if str(value).lower() in _FALSE:
        raise SettingsError(f"{where} is {value}: MLServer would load no models; remove it")


def environment(models: Iterable[Served], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a server, which requires the digests of its models.

    A child need not be signed like the pipeline that pins it, so required keys are replaced by the
    digests of the models that met the trust policy.

    Args:
        models: The models that the server serves.
        environ: The environment of this process.
    """
    digests = [digest for model in models for digest in model.digests]
    return trust.demanding(digests, environ) if digests else dict(environ)


def with_page(environ: Mapping[str, str], wanted: bool, host: str) -> dict[str, str]:
    """Return the environment of a server with a page, or of one without.

    Args:
        environ: Its environment, which may refuse the page (`TEMPO_RUNTIME_PAGE=false`).
        wanted: Whether it is to have one; False overrules the environment.
        host: The address that it listens on, by which browsers may reach it.

    Raises:
        SettingsError: If the environment's settings of a server are invalid.
    """
    settings = ServerSettings.read(environ)
    refused = "page" in settings.model_fields_set and not settings.page
    hosts = tuple(dict.fromkeys((*settings.page_hosts, host)))
    settings = ServerSettings(page=wanted and not refused, page_hosts=hosts)
    return {**environ, **settings.variables()}


def workers(models: Iterable[Served], requested: int | None, configured: Any = None) -> int:
    """Return the number of parallel workers of a server.

    Args:
        models: The models that it serves.
        requested: How many it is to have; None for what is stated, or what the models need.
        configured: How many its settings.json says.

    Raises:
        SettingsError: If the number is 0 but a model needs a worker.
    """
    packed = [model.name for model in models if model.packed]
    wanted = next(
        (count for count in (requested, configured) if count is not None), int(bool(packed))
    )
    if not isinstance(wanted, int):
        raise SettingsError(
            f"parallel_workers must be a number, not {wanted!r}; correct settings.json"
        )
    if packed and not wanted:
        raise SettingsError(
            f"{', '.join(packed)}: an environment_tarball needs a parallel worker; MLServer ignores it "
            "without one; set at least one worker, or remove environment_tarball"
        )
    return wanted


def seconds_to_end(models: Iterable[Served], environ: Mapping[str, str]) -> float:
    """Return how long a server may take to stop: its `drain_timeout`, and a little longer.

    Args:
        models: The models that it serves.
        environ: Its environment.
    """
    timeouts = [
        drain_timeout(parameters_of(model.settings).get("extra"), environ) for model in models
    ]
    return _BEYOND_DRAIN + max(
        (timeout for timeout in timeouts if timeout is not None), default=DRAIN_TIMEOUT
    )


def parameters_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `parameters` of a model-settings.json, or an empty dict if they are missing."""
    return settings.get("parameters") or {}


def read(path: str) -> dict[str, Any]:
    """Read a JSON file of settings.

    Raises:
        ArtifactDamaged: If it cannot be read, or is not a JSON object.
    """
    try:
        return json_files.read_object(path)
    except FileNotFoundError as error:
        raise ArtifactDamaged(f"{path} cannot be read: {error.strerror}; correct it") from error
