"""Find the models that a server must serve: artifacts, and the models they call.

No code of an artifact is run: its tempo.json names the models, and the settings their addresses.
"""

from __future__ import annotations

import glob
import importlib.util
import os
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from tempo_runtime._util.layers import merge
from tempo_runtime._util.private_copies import origin_of
from tempo_runtime.artifact import declaration, store, topology, trust, verification
from tempo_runtime.artifact.description import EnvironmentDescription
from tempo_runtime.authoring.details import SERVED_BY_US, ModelDetails
from tempo_runtime.errors import (
    ArtifactError,
    ArtifactMissing,
    AuthoringError,
    EnvironmentFailed,
    SettingsError,
)
from tempo_runtime.execution import frameworks
from tempo_runtime.servers import pinning
from tempo_runtime.servers.repository import (
    Served,
    Sibling,
    check,
    located,
    parameters_of,
    read,
    settings_files,
)
from tempo_runtime.settings import PipelineSettings, child_folder

_RUNTIMES = {name.value: runtime for name, runtime in frameworks.IMPLEMENTATIONS.items()}


def gather(
    targets: Iterable[Any],
    *,
    in_process: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> dict[str, Served]:
    """Find all models of a server: those of folders, and their children.

    A child without an address in the settings is a model of its own, as on a platform: it can be called,
    watched, measured and replaced by itself.

    Args:
        targets: Artifacts, other folders with a model-settings.json, or folders that contain these;
            also pipelines and models of this process, which are in their `local_folder`.
        in_process: Whether children without a URL stay in their pipeline's process.
        environ: The environment, which may have settings, too.

    Returns:
        The models by name, in the order in which they were found.

    Raises:
        ArtifactError: If a folder holds no model, or a model that cannot be served here.
        AuthoringError: If a target is not a model, or has no folder.
        EnvironmentFailed: If an artifact's environment needs an interpreter that is missing here.
        SettingsError: If settings are invalid, or the address of a child is unknown.
    """
    gathering = _Gathering(in_process, environ)
    for target in targets:
        if not isinstance(target, (str, os.PathLike)):
            gathering.declared(details_of(target))
            continue
        gathering.in_folders(map(os.path.dirname, settings_files(target)))
    return gathering.models


def gather_model(
    details: ModelDetails,
    environ: Mapping[str, str] = os.environ,
    *,
    here: bool = True,
    demands: trust.TrustPolicy | None = None,
) -> dict[str, Served]:
    """Find a model in its `local_folder` and its children, as `gather` does.

    Args:
        details: The model.
        environ: The environment, which may have settings, too.
        here: Whether this Python serves them; otherwise it need not be able to.
        demands: The model's trust policy, in addition to the environment's.

    Returns:
        The models by name, this one first.

    Raises:
        AuthoringError: If it has no folder.
        ArtifactError, EnvironmentFailed, SettingsError: See `gather`.
    """
    gathering = _Gathering(False, environ, here, demands=demands)
    gathering.declared(details)
    if not here:  # here, the server itself reports at once what it cannot read
        for model in gathering.models.values():
            check(model.settings, model.folder, environ)
    return gathering.models


def gather_alone(folder: str, environ: Mapping[str, str] = os.environ) -> dict[str, Served]:
    """Find the models that `mlserver start FOLDER` would serve, and check each.

    Their children are not gathered. A child in a pipeline's own folder must be the one that
    the pipeline was saved with; any other model must meet the environment's trust policy.

    Args:
        folder: A model, or a folder of models.
        environ: The server's environment, for values that settings leave out.

    Returns:
        The models by name.

    Raises:
        ArtifactError, SettingsError: See `gather`.
    """
    gathering = _Gathering(False, environ, here=False, follows=False)
    pattern = os.path.join(glob.escape(os.path.abspath(folder)), "**", store.MODEL_SETTINGS)
    homes = sorted(map(os.path.dirname, glob.glob(pattern, recursive=True)))
    if not homes:
        homes = [os.path.abspath(environ.get("MLSERVER_MODEL_URI") or folder)]
    gathering.in_folders(homes, environ.get("MLSERVER_MODEL_NAME"))
    return gathering.models


def details_of(model: Any) -> ModelDetails:
    """Return the declaration of a pipeline or model of this process.

    Raises:
        AuthoringError: If it is neither.
    """
    get_tempo = getattr(model, "get_tempo", None)
    if get_tempo is None:
        raise AuthoringError(
            f"{model!r:.80} is neither a pipeline, nor a Model, nor the folder of an artifact"
        )
    details: ModelDetails = get_tempo().details
    return details


class _Gathering:
    """Collects models, and the children they call.

    Args:
        in_process: Whether children stay in their pipeline's process.
        environ: The environment.
        here: Whether this Python serves them.
        follows: Whether their children are served as well.
        demands: The trust policy for the models that it starts from, in addition to those of `environ`
            and of this process's environment.
    """

    def __init__(
        self,
        in_process: bool,
        environ: Mapping[str, str],
        here: bool = True,
        follows: bool = True,
        demands: trust.TrustPolicy | None = None,
    ) -> None:
        self.models: dict[str, Served] = {}
        self._entered: set[tuple[str, str]] = set()
        self._opened: dict[str, store.OpenedArtifact] = {}
        self._in_process = in_process
        self._environ = environ
        policy = trust.TrustPolicy.of_environment({**os.environ, **environ})
        self._demands = policy.and_(demands or trust.TrustPolicy())
        self._here = here
        self._follows = follows

    def declared(self, details: ModelDetails) -> None:
        if not details.local_folder:
            raise AuthoringError(
                f"{details.name!r} has no local_folder for its artifact; give it one, or save it first"
            )
        folder = origin_of(os.path.abspath(details.local_folder))
        if not details.served_by_us and not os.path.exists(folder):
            raise ArtifactMissing(
                f"{details.name}: there is no {folder}; train the model, or download it"
            )
        self.sibling(details.name, folder, details.platform.value, None, self._demands)

    def in_folders(self, homes: Iterable[str], name: str | None = None) -> None:
        """Serve the models in folders; `name` is for a model whose settings have no name."""
        # A pipeline has the digests of its children, so it comes before them.
        for home in _callers_first(homes) if self._demands else homes:
            self._in_folder(home, name or os.path.basename(home))

    def _in_folder(self, home: str, fallback: str) -> None:
        demands = self._demanded(home)
        settings, digests = self._read(home, demands)
        settings = settings or {}
        self.add(str(settings.get("name") or fallback), settings, home, demands, digests)

    def add(
        self,
        name: str,
        settings: Mapping[str, Any],
        folder: str,
        demands: trust.TrustPolicy,
        digests: Mapping[str, str] | None = None,
    ) -> None:
        """Serve a model, and the models it calls.

        Args:
            name: Its name.
            settings: Its model-settings.json.
            folder: Folder of that file, or the model's only file.
            demands: Its trust policy.
            digests: The digests of its files, if it has a trust policy and is not a pipeline.
        """
        settings = {**located(settings, folder), "name": name}
        parameters, uri = settings["parameters"], settings["parameters"]["uri"]
        packed = bool(parameters.get("environment_tarball"))
        is_pipeline = settings.get("implementation") == declaration.IMPLEMENTATION
        if urlsplit(uri).scheme and (is_pipeline or demands):
            raise ArtifactMissing(
                f"{name}: its artifact is at {uri}, not on this machine; download it, and serve "
                "that folder"
            )
        shown = None
        if demands:
            to_run = self._here and not packed
            shown = self._shown(settings, folder, demands, digests, to_run=to_run)
        if name in self.models:
            other = parameters_of(self.models[name].settings)["uri"]
            if os.path.realpath(other) != os.path.realpath(uri):
                raise SettingsError(
                    f"two models are called {name!r}, in {other} and in {uri}; serve only one, or "
                    "rename one"
                )
            return
        environment = shown.environment if shown is not None else None
        model = self.models[name] = Served(name, settings, folder, environment=environment)
        if model.packed and not os.path.isfile(parameters["environment_tarball"]):
            raise ArtifactMissing(
                f"{name}: its environment_tarball {parameters['environment_tarball']} does not exist; "
                f"save it again, or remove environment_tarball from its {store.MODEL_SETTINGS}"
            )
        if shown is not None:
            model.digests.append(shown.digest)
        if settings.get("implementation") != declaration.IMPLEMENTATION:
            implementation = str(settings.get("implementation"))
            if self._here and not model.packed:
                _refuse_missing_runtime(name, implementation)
            if missing := frameworks.missing_file(implementation, uri):
                raise ArtifactMissing(f"{name}: {missing}")
            return
        opened = shown.opened if shown is not None else None
        if opened is not None:
            description = opened.description
        elif model.packed:
            # MLServer runs the environment's Python, which then checks the artifact.
            description = store.verify_folder(uri, demands, to_run=False).description
        else:
            description = store.read_description(uri, to_run=self._here)
        if model.packed and self._here:
            _refuse_missing_interpreter(name, description.environment)
        if not self._follows:
            return
        children = topology.described(description, uri)
        parameters["extra"] = extra = self._placed(parameters.get("extra") or {}, children)
        for call in topology.calls(children, PipelineSettings.read(extra, self._environ)):
            model.calls[call.alias] = self._follow(call, uri, model, opened)

    def _read(
        self, place: str, demands: trust.TrustPolicy
    ) -> tuple[dict[str, Any] | None, Mapping[str, str] | None]:
        """Read a model's own settings, and the digests of its files if those were checked."""
        settings_path = os.path.join(place, store.MODEL_SETTINGS)
        settings = read(settings_path) if os.path.isfile(settings_path) else None
        if demands and not pinning.is_pipeline(place, settings or {}):
            return pinning.read_model(place, demands)
        return settings, None

    def _shown(
        self,
        settings: dict[str, Any],
        folder: str,
        demands: trust.TrustPolicy,
        digests: Mapping[str, str] | None,
        *,
        to_run: bool,
    ) -> pinning.Shown:
        """Check a model, and choose the class that serves it."""
        if digests is not None:
            if not settings.get("implementation"):
                settings["implementation"] = self._environ.get("MLSERVER_MODEL_IMPLEMENTATION")
            return pinning.of_model(settings, folder, digests)
        shown = pinning.of_pipeline(settings, folder, demands, to_run=to_run)
        settings["implementation"] = declaration.IMPLEMENTATION
        assert shown.opened is not None
        self._opened[folder] = shown.opened
        return shown

    def _demanded(self, home: str) -> trust.TrustPolicy:
        """Return the trust policy of the model in a folder, possibly a child of an earlier pipeline."""
        for outer, opened in self._opened.items():
            for alias, child in topology.described(opened.description, opened.origin).items():
                if home != outer and home == os.path.normpath(child.folder or opened.origin):
                    return store.demands_of_child(opened, opened.description.children[alias])
        return self._demands

    def _placed(self, extra: dict[str, Any], nodes: Mapping[str, topology.Node]) -> dict[str, Any]:
        """Return settings that contain the address or transport of each child."""
        settings = PipelineSettings.read(extra, self._environ)
        reached = topology.calls(nodes, settings, deployed=True, in_process=self._in_process)
        for call in reached:
            transport = call.settings.transport
            if transport != settings.child(call.alias).transport:
                extra = merge(extra, {"models": {call.alias: {"transport": transport}}})
        return extra

    def _follow(
        self,
        call: topology.Call,
        folder: str,
        served: Served,
        opened: store.OpenedArtifact | None,
    ) -> str:
        """Serve a child if it belongs on this server, and return how it is reached.

        `opened` is the artifact that calls it, if that has a trust policy.
        """
        child, settings = call.child, call.settings
        if call.place == "elsewhere":
            return f"{child.name}, {call.way}"
        named = settings.uri or child.folder
        if not settings.implementation:
            path = os.path.join(folder, named) if named else None
            frameworks.refuse_without_triton(call.alias, child.name, child.platform, path)
        place = child_folder(folder, call.alias, child.name, named)
        if child.platform in SERVED_BY_US and os.path.isfile(place):
            place = os.path.dirname(place)
        demands = trust.TrustPolicy()
        if opened is not None:
            demands = store.demands_of_child(opened, opened.description.children[call.alias])
        if call.place == "inside":
            served.inside.append(place)
            self._inside(place, child.platform, served, demands, opened)
            return f"{child.name}, {call.way}"
        name = settings.model or child.name
        self.sibling(name, place, child.platform, settings.implementation, demands)
        if settings.fast_sklearn is False:
            _leave_to_sklearn(self.models[name])
        if child.modules:
            digest = None if opened is None else opened.description.digest
            self._with_code(self.models[name], folder, digest)
        assert settings.transport is not None
        sibling = Sibling(name, settings.transport)
        if served.siblings.setdefault(call.alias, sibling) != sibling:
            raise SettingsError(
                f"{served.name}: two pipelines in its process call different models {call.alias!r}; "
                "give one of them another name, or an `url`"
            )
        return f"{name}, {call.way}"

    def _inside(
        self,
        folder: str,
        platform: str,
        served: Served,
        demands: trust.TrustPolicy,
        parent: store.OpenedArtifact | None,
    ) -> None:
        """Serve the siblings of a pipeline in another's process; that pipeline has its own settings."""
        entered = (served.name, folder)
        if not topology.is_artifact(platform, folder) or entered in self._entered:
            return
        self._entered.add(entered)
        settings = read(os.path.join(folder, store.MODEL_SETTINGS))
        extra = parameters_of(settings).get("extra") or {}
        opened, to_run = None, self._here and not served.packed
        if demands:
            verification.refuse_unsigned_settings(folder, PipelineSettings.read(extra, {}).models)
            opened = store.verify_folder(folder, demands, to_run=to_run)
            if parent is not None and demands is parent.demands:
                # Its parent's description has no digest of it, so the server needs it.
                served.digests.append(opened.description.digest)
            description = opened.description
        else:
            description = store.read_description(folder, to_run=to_run)
        children = topology.described(description, folder)
        for call in topology.calls(children, PipelineSettings.read(extra, self._environ)):
            self._follow(call, folder, served, opened)

    def sibling(
        self,
        name: str,
        folder: str,
        platform: str,
        implementation: str | None,
        demands: trust.TrustPolicy,
    ) -> None:
        """Serve a model."""
        settings, digests = self._read(folder, demands)
        if settings is None and platform in SERVED_BY_US:
            store.read_description(folder, to_run=self._here)  # the error names what is missing
            settings = {"implementation": declaration.IMPLEMENTATION}
        elif settings is None:
            settings = {"implementation": _RUNTIMES.get(platform)}
        if implementation is not None:
            settings["implementation"] = implementation
        if not settings.get("implementation"):
            frameworks.refuse_without_triton(name, name, platform, folder)
            raise SettingsError(
                f"child {name!r} cannot be served: no runtime for {platform!r} is known; set its "
                "`implementation` to an MLServer runtime class, or its `url`"
            )
        if os.path.isfile(folder):
            settings["parameters"] = {**parameters_of(settings), "uri": folder}
        self.add(name, settings, folder, demands, digests)

    def _with_code(self, model: Served, code: str, digest: str | None) -> None:
        """Unpickle a model with the code of an artifact, which must have that digest."""
        runtime = model.settings["implementation"]
        if runtime not in (declaration.IMPLEMENTATION, declaration.WITH_CODE):
            model.settings.update(declaration.with_code(model.settings, code, digest))
            model.inside.append(code)


def _leave_to_sklearn(model: Served) -> None:
    """Make a model of scikit-learn be computed by scikit-learn for all its callers."""
    parameters = model.settings["parameters"]
    parameters["extra"] = {**(parameters.get("extra") or {}), "fast_sklearn": False}


def _callers_first(homes: Iterable[str]) -> list[str]:
    """Order folders of models so that each pipeline comes before its children."""
    ordered, remaining = [], {home: _children_of(home) for home in homes}
    while remaining:
        called = {child for home, children in remaining.items() for child in children - {home}}
        for home in [home for home in remaining if home not in called] or list(remaining):
            ordered.append(home)
            del remaining[home]
    return ordered


def _children_of(home: str) -> set[str]:
    try:
        children = topology.described(store.read_description(home, to_run=False), home).values()
    except ArtifactError:  # serving it reports the error
        return set()
    return {child.folder or home for child in children}


def _refuse_missing_runtime(name: str, implementation: str) -> None:
    command = frameworks.installing(implementation)
    module = implementation.partition(".")[0]
    if command is not None and importlib.util.find_spec(module) is None:
        raise ArtifactError(
            f"{name} needs the runtime {implementation}, which is not installed here: {command}"
        )


def _refuse_missing_interpreter(name: str, packed: EnvironmentDescription | None) -> None:
    interpreter = None if packed is None else packed.interpreter
    if packed and interpreter and not os.path.exists(interpreter):
        raise EnvironmentFailed(
            f"{name}: its environment was packed without Python and needs {interpreter}, which is not "
            f"here; install Python {packed.python} there, or remove environment_tarball "
            f"from its {store.MODEL_SETTINGS} to serve it with this Python"
        )
