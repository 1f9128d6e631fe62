"""Checks of a machine, which turn facts into findings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tempo_runtime._util.extras import command
from tempo_runtime._util.ports import HOST
from tempo_runtime.cli.doctor.facts import PORTS, Facts
from tempo_runtime.cli.doctor.findings import Finding, numbers
from tempo_runtime.cli.doctor.own_servers import OwnServer

_GIGABYTE = 1e9
_SCARCE, _TOO_LITTLE = 2 * _GIGABYTE, 0.2 * _GIGABYTE
# Runtimes that work with another MLServer than their own version suggests.
_OTHER_VERSIONS = ("mlserver-alibi-explain", "mlserver-alibi-detect")
_EXTRAS = {
    "scikit-learn": ("sklearn", "scikit-learn models"),
    "alibi": ("explain", "explainers"),
    "cryptography": ("sign", "signatures of artifacts"),
    "redis": ("state", "a state in Redis"),
}
_TOOLS = {
    ("conda", "mamba", "micromamba"): "conda environments",
    ("uv",): "creating environments in seconds instead of minutes",
    ("rclone",): "uploads and downloads",
    ("docker", "podman"): "deploying to containers",
    ("kubectl",): "inspecting a cluster",
    ("make",): "projects that `tempo-runtime init` writes",
}
_PROCESS = re.compile(r"process (\d+)")
_EXPECTED = ("MLSERVER_HTTP_PORT", "MLSERVER_GRPC_PORT", "MLSERVER_METRICS_PORT")


def examine(facts: Facts) -> list[Finding]:
    """Run all checks."""
    return [finding for check in CHECKS for finding in check(facts)]


def python(facts: Facts) -> Iterator[Finding]:
    """Check that MLServer supports this version of Python."""
    version = "{}.{}.{}".format(*facts.python)
    if (3, 10) <= facts.python[:2] <= (3, 12):
        yield Finding("Python", "ok", version)
    else:
        yield Finding(
            "Python",
            "problem",
            f"{version}: MLServer supports 3.10, 3.11 and 3.12",
            "create an environment with one of these: uv venv --python 3.12",
        )


def mlserver(facts: Facts) -> Iterator[Finding]:
    """Check that this package supports the version of MLServer."""
    version = facts.packages.get("mlserver")
    remedy = "pip install 'mlserver>=1.6.1,<1.8'"
    if version is None:
        yield Finding("MLServer", "problem", "it is not installed", remedy)
    elif not (1, 6, 1) <= numbers(version) < (1, 8):
        yield Finding("MLServer", "problem", f"{version}: 1.6.1 to 1.7 are supported", remedy)
    else:
        yield Finding("MLServer", "ok", version)


def uvloop(facts: Facts) -> Iterator[Finding]:
    """Check for uvloop 0.22, with which workers ask for an event loop that does not exist."""
    return _below(facts, "uvloop", "0.22", "every parallel worker of this MLServer dies at start")


def pandas(facts: Facts) -> Iterator[Finding]:
    """Check for pandas 3, whose dtypes have other letters than MLServer expects."""
    return _below(facts, "pandas", "3", "MLServer's codec of DataFrames raises KeyError: 'O'")


def setuptools(facts: Facts) -> Iterator[Finding]:
    """Check for pkg_resources, which MLServer 1.6 imports and setuptools 80 no longer has."""
    version = facts.packages.get("setuptools")
    if numbers(facts.packages.get("mlserver", "1.7"))[:2] != (1, 6):
        return
    if version is None or numbers(version) >= (80,):
        yield Finding(
            "setuptools",
            "problem",
            f"{version or 'not installed'}: MLServer 1.6 imports pkg_resources, which it does not have",
            "pip install 'setuptools<80'",
        )
    else:
        yield Finding("setuptools", "ok", version)


def pydantic(facts: Facts) -> Iterator[Finding]:
    """Check for pydantic 2, which reads the settings."""
    version = facts.packages.get("pydantic")
    if version is None or numbers(version)[:1] != (2,):
        remedy = "pip install 'pydantic>=2.7,<3'"
        yield Finding("pydantic", "problem", f"{version or 'not installed'}: 2 is needed", remedy)
    else:
        yield Finding("pydantic", "ok", version)


def runtimes(facts: Facts) -> Iterator[Finding]:
    """Check that MLServer's runtimes have its version."""
    server = facts.packages.get("mlserver", "")
    for name, version in sorted(facts.packages.items()):
        if not name.startswith("mlserver-"):
            continue
        if numbers(version)[:2] == numbers(server)[:2] or name in _OTHER_VERSIONS:
            yield Finding(name, "ok", version)
        else:
            yield Finding(
                name,
                "warning",
                f"{version}, and MLServer is {server or 'missing'}",
                f"pip install '{name}=={server or version}'",
            )


def imports(facts: Facts) -> Iterator[Finding]:
    """Check that installed modules can be imported."""
    for module, error in facts.broken.items():
        yield Finding(
            f"import {module}",
            "problem",
            error,
            f"install the missing package; in a new environment: {command()}",
        )
    if not facts.broken:
        yield Finding("imports", "ok", "MLServer, gRPC and protobuf can be imported")


def extras(facts: Facts) -> Iterator[Finding]:
    """Check for packages that some pipelines need."""
    for package, (extra, purpose) in _EXTRAS.items():
        version = facts.packages.get(package)
        if version is None:
            remedy = command(extra)
            yield Finding(package, "info", f"not installed; needed for {purpose}", remedy)
        elif package == "alibi" and numbers(version) >= (0, 9, 5):
            yield Finding(
                package,
                "info",
                f"{version}: under the Business Source License 1.1",
                "if that does not suit you: pip install 'alibi==0.9.4', under Apache-2.0",
            )
        else:
            yield Finding(package, "ok", version)


def ports(facts: Facts) -> Iterator[Finding]:
    """Check that MLServer's usual ports are free, or taken by a server of ours."""
    taken = {port: why for port, why in facts.ports.items() if why is not None}
    for port, server in facts.servers.items():
        why = taken.pop(port)
        # Its gRPC and its metrics are in the same process, if the system says which that is.
        same = [other for other in taken if _PROCESS.search(why) and taken[other] == why]
        for other in same:
            del taken[other]
        found = f"your server of {', '.join(server.models)} answers there"
        if same:
            found += f", and at {', '.join(map(str, same))}"
        yield Finding(f"port {port}", "ok", found, _using(port, server, why))
    for port, why in taken.items():
        yield Finding(
            f"port {port}",
            "warning",
            f"it {why}",
            "free it, or choose another port: tempo-runtime serve --port"
            if port == PORTS[0]
            else "`tempo-runtime serve` uses a free port instead",
        )
    if free := [str(port) for port, why in facts.ports.items() if why is None]:
        yield Finding("ports", "ok", f"{', '.join(free)} can be used")


def tools(facts: Facts) -> Iterator[Finding]:
    """Check for commands that some uses need."""
    for names, purpose in _TOOLS.items():
        present = [name for name in names if name in facts.tools]
        if present:
            where = ", ".join(facts.tools[name] for name in present)
            yield Finding(", ".join(present), "ok", f"{where}, for {purpose}")
        else:
            yield Finding(
                ", ".join(names),
                "info",
                f"not on the PATH; needed for {purpose}",
                "install one if you need it",
            )


def engine(facts: Facts) -> Iterator[Finding]:
    """Check that a container engine answers at DOCKER_HOST or the usual socket."""
    endpoint, why = facts.engine
    if why is None:
        yield Finding("container engine", "ok", f"{endpoint} answers")
        return
    is_configured = "DOCKER_HOST" in facts.environ
    yield Finding(
        "container engine",
        "warning" if is_configured else "info",
        f"{endpoint} does not answer: {why}",
        "start it, or correct DOCKER_HOST"
        if is_configured
        else "to deploy to containers, start one, or set DOCKER_HOST to its address",
    )


def space(facts: Facts) -> Iterator[Finding]:
    """Check the space for unpacked environments, which take hundreds of megabytes."""
    for folder, free in facts.space.items():
        text = f"{folder}: {free / _GIGABYTE:.1f} GB free"
        if free >= _SCARCE:
            yield Finding("disk space", "ok", text)
        else:
            yield Finding(
                "disk space",
                "problem" if free < _TOO_LITTLE else "warning",
                f"{text}; an unpacked environment takes about 1 GB",
                "free some space, or set TMPDIR or TEMPO_RUNTIME_CACHE to a folder elsewhere",
            )


def variables(facts: Facts) -> Iterator[Finding]:
    """Check for variables that change every MLServer started from here."""
    names = sorted(
        name
        for name in facts.environ
        if name.startswith("MLSERVER_") and name not in _EXPECTED and facts.environ[name]
    )
    for name in names:
        yield Finding(name, "warning", facts.environ[name], _remedy(name))
    if "IMPLEMENTATION" in facts.environ:
        text = f"{facts.environ['IMPLEMENTATION']}: MLServer takes this for the class of a model"
        yield Finding("IMPLEMENTATION", "warning", text, "unset IMPLEMENTATION")
    if not names:
        yield Finding("MLSERVER_*", "ok", "no variable changes what is served")


def dotenv(facts: Facts) -> Iterator[Finding]:
    """Check for a file `.env`, which MLServer reads from the working directory."""
    read = [name for name in facts.dotenv if name.startswith("MLSERVER_")]
    if read:
        yield Finding(
            ".env",
            "warning",
            f"`mlserver start` reads {', '.join(read)} from the file .env here",
            "start it elsewhere (`tempo-runtime serve` does), or remove them from the file",
        )


def _below(facts: Facts, package: str, limit: str, why: str) -> Iterator[Finding]:
    version = facts.packages.get(package)
    if version is not None and numbers(version) >= numbers(limit):
        remedy = f"pip install '{package}<{limit}'"
        yield Finding(package, "problem", f"{version}: {why}", remedy)
    elif version is not None:
        yield Finding(package, "ok", version)


def _using(port: int, server: OwnServer, why: str) -> str:
    """Return how to call a server of ours, to stop it, or to start another beside it."""
    process = _PROCESS.search(why)
    if server.deployment is not None:
        stop = f"tempo-runtime undeploy {server.deployment}"
    else:
        stop = "Ctrl-C where it was started" + (f", or kill {process[1]}" if process else "")
    return (
        f"call it: tempo-runtime predict http://{HOST}:{port}/v2/models/{server.models[0]}\n"
        f"stop it: {stop}\nserve another beside it: tempo-runtime serve --port 0 ARTIFACT"
    )


def _remedy(name: str) -> str:
    if name.startswith("MLSERVER_MODEL_"):
        return f"it applies to every model whose settings leave it out; unset {name}"
    if name == "MLSERVER_DEBUG":
        return "with debug, MLServer returns tracebacks to clients; unset it where others call"
    return f"every server started from this shell reads it unless its settings.json sets it; unset {name}"


CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    python,
    mlserver,
    uvloop,
    pandas,
    setuptools,
    pydantic,
    runtimes,
    imports,
    extras,
    ports,
    tools,
    engine,
    space,
    variables,
    dotenv,
)
