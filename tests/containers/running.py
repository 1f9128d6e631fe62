"""Containers of the server image, as Seldon Core's operator runs them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tempo_runtime.protocol.binding import decode_results, encode_arguments
from tempo_runtime.protocol.messages import Request, request_to_json, response_from_json

PATIENCE = 90  # seconds until a server of two busy processors must be ready
HTTP, GRPC = 9000, 9500
# Restrictions of a cluster that allows pods little.
CONFINED: dict[str, Any] = {
    "user": "8888:0",
    "read_only": True,
    "tmpfs": {"/tmp": "mode=1777", "/opt/mlserver": "mode=1777"},
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}


@dataclass
class Served:
    """A model that a container serves."""

    name: str
    container: Any
    url: str

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            self.container.reload()
            assert self.container.status in ("created", "running"), self.log()
            assert time.monotonic() < deadline, f"not ready:\n{self.log()}"
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/v2/models/{self.name}/ready", timeout=5).is_success:
                    return
            time.sleep(0.1)

    def infer(self, *args: Any, **kwargs: Any) -> Any:
        body = request_to_json(Request(encode_arguments(None, args, kwargs)))
        answer = httpx.post(f"{self.url}/v2/models/{self.name}/infer", content=body, timeout=60)
        assert answer.status_code == 200, f"{answer.text}\n{self.log()}"
        response = response_from_json(answer.content)
        return decode_results(None, response.tensors, response.content_type)

    def run(self, *command: str) -> str:
        """Return the output of a program in the container."""
        status, output = printed(self.container, *command)
        assert status == 0, output
        return output

    def log(self) -> str:
        return str(self.container.logs().decode())


def printed(container: Any, *command: str) -> tuple[int, str]:
    """Return how a program ended in a container, and all that it printed.

    The program runs again if the end of its output is missing: podman 4.3 loses it once in a hundred
    times, and all of it as often, without an error.
    """
    script = 'output=$("$@" 2>&1; echo "ended:$?"); printf %s "$output"'
    while True:
        done = container.exec_run(["sh", "-c", script, "sh", *command])
        assert done.exit_code == 0, done.output.decode()
        output, _, status = done.output.decode().rpartition("ended:")
        if status:
            return int(status), output


@contextmanager
def created(engine: Any, image: str, **options: Any) -> Iterator[Any]:
    """A container that is gone when the block ends."""
    container = engine.containers.create(image, **options)
    try:
        yield container
    finally:
        container.remove(force=True, v=True)


@contextmanager
def served(
    engine: Any,
    image: str,
    folder: Path | None,
    name: str,
    implementation: str = "tempo.mlserver.InferenceRuntime",
    env: Mapping[str, str] | None = None,
    network: str | None = None,
) -> Iterator[Served]:
    """A container with the variables that the operator gives, until the block ends.

    Without a folder what it serves is in its image.
    """
    options: dict[str, Any] = {}
    if folder is not None:
        options["volumes"] = {str(readable(folder)): {"bind": "/mnt/models", "mode": "ro"}}
    if network:
        aliases = engine.api.create_endpoint_config(aliases=[name])
        options |= {"network": network, "networking_config": {network: aliases}}
    variables = {
        "MLSERVER_MODEL_NAME": name,
        "MLSERVER_MODEL_URI": "/mnt/models",
        "MLSERVER_MODEL_IMPLEMENTATION": implementation,
        "MLSERVER_HTTP_PORT": str(HTTP),
        "MLSERVER_GRPC_PORT": str(GRPC),
        **(env or {}),
    }
    with created(
        engine,
        image,
        environment=variables,
        ports={f"{HTTP}/tcp": ("127.0.0.1", None)},
        **CONFINED,
        **options,
    ) as container:
        container.start()
        container.reload()
        port = container.ports[f"{HTTP}/tcp"][0]["HostPort"]
        running = Served(name, container, f"http://127.0.0.1:{port}")
        running.wait_until_ready()
        yield running


def readable(folder: Path) -> Path:
    """The folder, which the container's user can read."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
    return folder
