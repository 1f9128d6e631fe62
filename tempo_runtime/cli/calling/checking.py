"""Check that an artifact works in a fresh process, with its packed environment if it has one.

The process answers the artifact's example, `example.json`, which holds a request and the recorded
answer. The digests do not cover that file, so that an example can be recorded at any time.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np

from tempo_runtime._util import atomic_files, json_files
from tempo_runtime._util.printable import shortened
from tempo_runtime.artifact import trust
from tempo_runtime.artifact.environment import TARBALL
from tempo_runtime.artifact.environment.unpacking import unpack
from tempo_runtime.artifact.store import EXAMPLE
from tempo_runtime.authoring import ownership
from tempo_runtime.cli.calling import targets
from tempo_runtime.cli.calling.rows_check import Recorder, of_model
from tempo_runtime.errors import ArtifactDamaged, CheckFailed, TempoError
from tempo_runtime.execution.error_line import one_line
from tempo_runtime.protocol.binding import decode_results
from tempo_runtime.protocol.messages import (
    Request,
    Response,
    request_from_json,
    request_to_json,
    response_from_json,
    response_to_json,
)
from tempo_runtime.request import context

SEED = 0  # of an example's random numbers, so that the answer can be repeated
_RELATIVE = 1e-6  # how much numbers may differ, because processors add in different orders
_ABSOLUTE = 1e-9
_OF_PYTHON = "PYTHON"  # prefix of variables that would make this process' packages importable there


@dataclass(frozen=True)
class Outcome:
    """The result of loading and asking an artifact in a fresh process.

    Attributes:
        python: Version of its Python.
        prefix: Where that Python is.
        loaded: Seconds that loading took.
        answered: Seconds that the answer took; None without a request.
        response: The answer.
        batching: Name of each model with batching -> how its answers to rows together differ from those
            to each alone; None if they do not.
        evaluations: How each scikit-learn model of its process is computed, and why.
    """

    python: str
    prefix: str
    loaded: float
    answered: float | None = None
    response: Response | None = None
    batching: Mapping[str, str | None] = field(default_factory=dict)
    evaluations: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def its_python(folder: str) -> Iterator[str]:
    """Provide the Python of an artifact's environment, unpacked until the block ends, or this one.

    Raises:
        EnvironmentFailed: If it cannot be unpacked.
    """
    tarball = os.path.join(folder, TARBALL)
    if not os.path.exists(tarball):
        yield sys.executable
        return
    with tempfile.TemporaryDirectory(prefix="tempo-check-", ignore_cleanup_errors=True) as place:
        yield unpack(tarball, os.path.join(place, "environment"))


def example(folder: str) -> tuple[Request, Response] | None:
    """Return the request and the answer of an artifact's example; None if none is recorded.

    Raises:
        ArtifactDamaged: If `record` cannot have written it.
    """
    try:
        content = json_files.read_object(os.path.join(folder, EXAMPLE), "record it again")
        request, response = (json.dumps(content[name]).encode() for name in ("request", "response"))
        return request_from_json(request), response_from_json(response)
    except FileNotFoundError:
        return None
    except ArtifactDamaged:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, TempoError) as error:
        raise ArtifactDamaged(
            f"{os.path.join(folder, EXAMPLE)} is not a recorded example ({shortened(error, 200)}); "
            "record it again"
        ) from error


def record(folder: str, request: Request, timeout: float) -> Response:
    """Ask an artifact in a fresh process of this environment, and record its example.

    Raises:
        CheckFailed: If it does not answer.
    """
    response = ask(sys.executable, folder, request, timeout).response
    assert response is not None
    bodies = request_to_json(request), response_to_json(response, "")
    content = dict(zip(("request", "response"), map(json.loads, bodies)))
    atomic_files.write(folder, EXAMPLE, (json.dumps(content, indent=2) + "\n").encode())
    return response


def ask(python: str, folder: str, request: Request | None, timeout: float) -> Outcome:
    """Load an artifact in a fresh process and send it a request.

    Args:
        python: The Python to run, which has tempo_runtime installed.
        folder: The artifact.
        request: The request; None to only load the artifact.
        timeout: Seconds that loading and answering may take together.

    Raises:
        CheckFailed: If it cannot be loaded, or does not answer in time.
    """
    environ = trust.elsewhere(os.environ)
    environ = {name: value for name, value in environ.items() if not name.startswith(_OF_PYTHON)}
    with tempfile.TemporaryDirectory(prefix="tempo-check-") as folder_there:
        outcome_path = os.path.join(folder_there, "told")
        command = [
            python,
            "-I",
            "-m",
            "tempo_runtime.cli.calling.checking",
            os.path.abspath(folder),
            outcome_path,
        ]
        if python == sys.executable:
            # This process may import packages from folders that its Python alone would not search.
            command += filter(ownership.holds_packages, sys.path)
        with subprocess.Popen(  # noqa: S603 - a Python, and a module of ours
            command,
            cwd=folder_there,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            try:
                body = b"" if request is None else request_to_json(request)
                output, _ = process.communicate(body, timeout)
            except subprocess.TimeoutExpired as error:
                raise CheckFailed(
                    f"{folder}: no answer after {timeout:g} s; allow more time with --timeout"
                ) from error
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        try:
            content = json.loads(atomic_files.read(folder_there, "told"))
        except FileNotFoundError as error:
            last = output.decode(errors="replace").strip().splitlines()[-1:]
            raise CheckFailed(
                f"{folder}: the process ended with {process.returncode}: {''.join(last)}"
            ) from error
    if "error" in content:
        raise CheckFailed(f"{folder}, in a fresh process of {python}: {content['error']}")
    response = content.pop("response")
    answer = None if response is None else response_from_json(json.dumps(response).encode())
    return Outcome(**content, response=answer)


def difference(recorded: Response, current: Response) -> str | None:
    """Describe the first difference of two answers; None if only the last digits of numbers differ."""
    values = [
        decode_results(None, response.tensors, response.content_type)
        for response in (recorded, current)
    ]
    return _difference("the answer", *values)


def _difference(where: str, recorded: Any, current: Any) -> str | None:
    if isinstance(recorded, np.ndarray) and isinstance(current, np.ndarray):
        if (recorded.dtype, recorded.shape) != (current.dtype, current.shape):
            kinds = [f"{array.dtype} of shape {array.shape}" for array in (recorded, current)]
            return f"{where} is {kinds[1]}, but was {kinds[0]}"
        recorded, current = recorded.tolist(), current.tolist()
    if (
        isinstance(recorded, dict)
        and isinstance(current, dict)
        and recorded.keys() == current.keys()
    ):
        pairs = [(f"{where}[{key!r}]", recorded[key], current[key]) for key in recorded]
        return _first(pairs)
    sequences = isinstance(recorded, list | tuple) and isinstance(current, list | tuple)
    if sequences and len(recorded) == len(current):
        numbered = enumerate(zip(recorded, current))
        return _first([(f"{where}[{index}]", *pair) for index, pair in numbered])
    if isinstance(recorded, float) and isinstance(current, float):
        same = math.isclose(recorded, current, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
        if same or (math.isnan(recorded) and math.isnan(current)):
            return None
    if isinstance(recorded, str) and isinstance(current, str) and recorded != current:
        with contextlib.suppress(ValueError):  # explanations are JSON in a string
            return _difference(where, json.loads(recorded), json.loads(current))
    if type(recorded) is type(current) and recorded == current:
        return None
    return f"{where} is {current!r:.60}, but was {recorded!r:.60}"


def _first(pairs: list[tuple[str, Any, Any]]) -> str | None:
    return next(filter(None, (_difference(*pair) for pair in pairs)), None)


class _OnlyInstalled:
    """Hides the author's own modules, which are not where the artifact will run.

    The process gets neither PYTHON* variables nor the working folder, but an editable install or a .pth
    file is part of its Python.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module; see `importlib.abc.MetaPathFinder`."""
        finders = sys.meta_path[sys.meta_path.index(self) + 1 :]
        specs = (finder.find_spec(name, path, target) for finder in finders)
        spec = next(filter(None, specs), None)
        origin = spec.origin if spec is not None and spec.has_location else None
        if origin is None or name.partition(".")[0] == "tempo_runtime":
            return spec
        if not ownership.is_installed(origin):
            raise ModuleNotFoundError(
                f"No module named {name!r} (your own code in {origin}, which is not in the artifact)",
                name=name,
            )
        return spec


def _main(folder: str, outcome_path: str, *packages: str) -> None:
    """Load the artifact and answer its example, in the fresh process."""
    sys.path += [path for path in packages if path not in sys.path]
    sys.meta_path.insert(0, _OnlyInstalled())
    body = sys.stdin.buffer.read()
    try:
        start = time.monotonic()
        with targets.opened(folder, seed=SEED) as target:
            assert isinstance(target, targets.Local)
            recorders = {child.details.name: Recorder.of(child) for child in target.children}
            content: dict[str, Any] = {
                "python": ".".join(map(str, sys.version_info[:3])),
                "prefix": sys.prefix,
                "loaded": time.monotonic() - start,
                "response": None,
                "evaluations": dict(target.evaluations),
            }
            if body:
                start = time.monotonic()
                request = request_from_json(body)
                response = target.infer(request)
                content["answered"] = time.monotonic() - start
                content["response"] = json.loads(response_to_json(response, target.name))
                content["batching"] = _compared(target, request, recorders)
    except Exception as error:
        content = {"error": one_line(error)}
    with open(outcome_path, "w", encoding="utf-8") as file:
        json.dump(content, file)


def _compared(
    target: targets.Local, request: Request, recorders: Mapping[str, Recorder | None]
) -> dict[str, str | None]:
    """Compare the answers of each model that declares batching; see `Outcome.batching`."""
    found = {}
    if target.batching is not None:
        found[target.name] = of_model(target.infer, request, target.signature)
    with context.serving(target.timeout, {}, SEED):
        for name, recorder in recorders.items():
            if recorder is not None and recorder.request is not None:
                found[name] = recorder.compare()
    return found


if __name__ == "__main__":
    _main(*sys.argv[1:])
