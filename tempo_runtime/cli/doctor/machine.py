"""Checks of a machine: facts in, findings out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tempo_runtime.cli.doctor.facts import PORTS, Facts
from tempo_runtime.cli.doctor.findings import Finding, numbers

_GIGABYTE = 1e9
_SCARCE, _TOO_LITTLE = 2 * _GIGABYTE, 0.2 * _GIGABYTE
# Runtimes that go with another MLServer than their own version says.
_OTHER_VERSIONS = ("mlserver-alibi-explain", "mlserver-alibi-detect")
_EXTRAS = {
    "scikit-learn": ("sklearn", "scikit-learn models"),
    "alibi": ("explain", "explainers"),
    "cryptography": ("sign", "signatures of artifacts"),
}
_TOOLS = {
    ("conda", "mamba", "micromamba"): "environments of conda",
    ("uv",): "environments in seconds, which pip makes in minutes",
    ("rclone",): "uploading to, and downloading from, storage that rclone knows",
    ("docker", "podman"): "deploying to containers",
    ("kubectl",): "looking into a cluster",
    ("make",): "what `tempo-runtime init` writes",
}
_EXPECTED = ("MLSERVER_HTTP_PORT", "MLSERVER_GRPC_PORT", "MLSERVER_METRICS_PORT")


def examine(facts: Facts) -> list[Finding]:
    """All that is found."""
    return [finding for check in CHECKS for finding in check(facts)]


def python(facts: Facts) -> Iterator[Finding]:
    """MLServer is for three versions of Python."""
    version = "{}.{}.{}".format(*facts.python)
    if (3, 10) <= facts.python[:2] <= (3, 12):
        yield Finding("Python", "ok", version)
    else:
        yield Finding(
            "Python",
            "problem",
            f"{version}: MLServer is for 3.10, 3.11 and 3.12",
            "make an environment with one of those, such as: uv venv --python 3.12",
        )


def mlserver(facts: Facts) -> Iterator[Finding]:
    """The versions that this package is tested with."""
    found = facts.packages.get("mlserver")
    remedy = "pip install 'mlserver>=1.6.1,<1.8'"
    if found is None:
        yield Finding("MLServer", "problem", "it is not installed", remedy)
    elif not (1, 6, 1) <= numbers(found) < (1, 8):
        yield Finding("MLServer", "problem", f"{found}: 1.6.1 to 1.7 are supported", remedy)
    else:
        yield Finding("MLServer", "ok", found)


def uvloop(facts: Facts) -> Iterator[Finding]:
    """From 0.22 on, a worker's start fails where it asks for a loop that is not there."""
    return _below(facts, "uvloop", "0.22", "every parallel worker of this MLServer dies at start")


def pandas(facts: Facts) -> Iterator[Finding]:
    """MLServer reads the letters of pandas' types."""
    return _below(facts, "pandas", "3", "MLServer's codec of DataFrames raises KeyError: 'O'")


def setuptools(facts: Facts) -> Iterator[Finding]:
    """MLServer 1.6's OpenTelemetry imports pkg_resources, which setuptools 80 no longer has."""
    found = facts.packages.get("setuptools")
    if numbers(facts.packages.get("mlserver", "1.7"))[:2] != (1, 6):
        return
    if found is None or numbers(found) >= (80,):
        yield Finding(
            "setuptools",
            "problem",
            f"{found or 'not installed'}: MLServer 1.6 imports pkg_resources, which it does not have",
            "pip install 'setuptools<80'",
        )
    else:
        yield Finding("setuptools", "ok", found)


def pydantic(facts: Facts) -> Iterator[Finding]:
    """Settings are read with pydantic 2."""
    found = facts.packages.get("pydantic")
    if found is None or numbers(found)[:1] != (2,):
        remedy = "pip install 'pydantic>=2.7,<3'"
        yield Finding("pydantic", "problem", f"{found or 'not installed'}: 2 is needed", remedy)
    else:
        yield Finding("pydantic", "ok", found)


def runtimes(facts: Facts) -> Iterator[Finding]:
    """MLServer's runtimes are released with it."""
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
    """What is installed, and cannot be imported."""
    for module, error in facts.broken.items():
        yield Finding(
            f"import {module}",
            "problem",
            error,
            "install what it lacks; in a new environment: pip install tempo_runtime",
        )
    if not facts.broken:
        yield Finding("imports", "ok", "MLServer, gRPC and protobuf can be imported")


def extras(facts: Facts) -> Iterator[Finding]:
    """Packages that some pipelines need."""
    for package, (extra, purpose) in _EXTRAS.items():
        found = facts.packages.get(package)
        if found is None:
            remedy = f"pip install 'tempo_runtime[{extra}]'"
            yield Finding(package, "info", f"not installed; it is for {purpose}", remedy)
        elif package == "alibi" and numbers(found) >= (0, 9, 5):
            yield Finding(
                package,
                "info",
                f"{found}: under the Business Source License 1.1",
                "if that does not suit you: pip install 'alibi==0.9.4', under Apache-2.0",
            )
        else:
            yield Finding(package, "ok", found)


def ports(facts: Facts) -> Iterator[Finding]:
    """MLServer's usual ports."""
    taken = {port: why for port, why in facts.ports.items() if why is not None}
    for port, why in taken.items():
        yield Finding(
            f"port {port}",
            "warning",
            f"it {why}",
            "end that, or choose another: tempo-runtime serve --port"
            if port == PORTS[0]
            else "`tempo-runtime serve` takes a free one in its place",
        )
    if free := [str(port) for port in facts.ports if port not in taken]:
        yield Finding("ports", "ok", f"{', '.join(free)} can be had")


def tools(facts: Facts) -> Iterator[Finding]:
    """Commands that some uses need."""
    for names, purpose in _TOOLS.items():
        found = [name for name in names if name in facts.tools]
        if found:
            where = ", ".join(facts.tools[name] for name in found)
            yield Finding(", ".join(found), "ok", f"{where}, for {purpose}")
        else:
            yield Finding(
                ", ".join(names),
                "info",
                f"not on the PATH; for {purpose}",
                "install one if need be",
            )


def engine(facts: Facts) -> Iterator[Finding]:
    """A container engine, which is looked for where DOCKER_HOST says."""
    endpoint, why = facts.engine
    if why is None:
        yield Finding("container engine", "ok", f"{endpoint} answers")
        return
    asked = "DOCKER_HOST" in facts.environ
    yield Finding(
        "container engine",
        "warning" if asked else "info",
        f"{endpoint} does not answer: {why}",
        "start it, or correct DOCKER_HOST"
        if asked
        else "start one, or set DOCKER_HOST to it, to deploy to containers",
    )


def space(facts: Facts) -> Iterator[Finding]:
    """Environments are of hundreds of megabytes, and are unpacked where temporary files are."""
    for folder, free in facts.space.items():
        told = f"{folder}: {free / _GIGABYTE:.1f} GB free"
        if free >= _SCARCE:
            yield Finding("disk space", "ok", told)
        else:
            yield Finding(
                "disk space",
                "problem" if free < _TOO_LITTLE else "warning",
                f"{told}; an environment takes about one when it is unpacked",
                "free some, or set TMPDIR or TEMPO_RUNTIME_CACHE to a folder elsewhere",
            )


def variables(facts: Facts) -> Iterator[Finding]:
    """Variables that MLServer reads in every server that is started from here."""
    found = sorted(
        name
        for name in facts.environ
        if name.startswith("MLSERVER_") and name not in _EXPECTED and facts.environ[name]
    )
    for name in found:
        yield Finding(name, "warning", facts.environ[name], _remedy(name))
    if "IMPLEMENTATION" in facts.environ:
        told = f"{facts.environ['IMPLEMENTATION']}: MLServer takes it for a model's class"
        yield Finding("IMPLEMENTATION", "warning", told, "unset IMPLEMENTATION")
    if not found:
        yield Finding("MLSERVER_*", "ok", "no variable that changes what is served")


def dotenv(facts: Facts) -> Iterator[Finding]:
    """MLServer reads `.env` where it is started."""
    read = [name for name in facts.dotenv if name.startswith("MLSERVER_")]
    if read:
        yield Finding(
            ".env",
            "warning",
            f"`mlserver start` reads {', '.join(read)} from the file .env here",
            "start it elsewhere (`tempo-runtime serve` does), or remove them from the file",
        )


def _below(facts: Facts, package: str, limit: str, why: str) -> Iterator[Finding]:
    found = facts.packages.get(package)
    if found is not None and numbers(found) >= numbers(limit):
        remedy = f"pip install '{package}<{limit}'"
        yield Finding(package, "problem", f"{found}: {why}", remedy)
    elif found is not None:
        yield Finding(package, "ok", found)


def _remedy(name: str) -> str:
    if name.startswith("MLSERVER_MODEL_"):
        return f"it fills what any model's settings leave out; unset {name}"
    if name == "MLSERVER_DEBUG":
        return "with debug, MLServer answers errors with tracebacks; unset it where others call"
    return (
        f"every server from this shell reads it, where its settings.json says nothing; unset {name}"
    )


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
