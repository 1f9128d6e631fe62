"""A real MLServer, for a test."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tempo_runtime import save
from tempo_runtime.testing import Server, serve
from tests.helpers import pipelines
from tests.helpers.remaining import serves

HEAVY = ["pytest", "grpc", "mlserver", "pandas", "alibi"]


def test_a_server_that_is_killed_comes_back_on_its_ports_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    save(pipelines.echo, str(tmp_path / "echo"))
    with serve(tmp_path / "echo") as server:
        url, first = server.url, server.process.pid
        assert server.infer("echo", "a") == "a"
        server.kill()
        assert not_there(first)
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
        server.restart()
        assert server.url == url
        assert server.process.pid != first
        assert server.infer("echo", "b") == "b"
        server.stop()
        server.stop()
        assert not_there(server.process.pid)
    assert not serves(f"{url}/v2/models/echo")
    assert [path.name for path in tmp_path.iterdir()] == ["echo"]


def test_a_server_ends_with_its_starter_even_while_it_works(tmp_path: Path) -> None:
    save(pipelines.waiter, str(tmp_path / "waiter"))
    gate = tmp_path / "gate"
    code = (
        "import sys; from tempo_runtime.testing import Server, serve\n"
        "with serve(sys.argv[1]) as server:\n"
        "    print(server.process.pid, flush=True); server.infer('waiter', sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "waiter"), str(gate)]
    # Its folder stays where its starter had no time to remove it.
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as starter:
        assert starter.stdout is not None
        server = int(starter.stdout.readline())
        while not Path(f"{gate}.called").exists():
            assert starter.poll() is None
            time.sleep(0.05)
        starter.kill()
    while not not_there(server):
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    save(pipelines.echo, str(root / "echo"))
    save(pipelines.Searched, str(root / "searched"))
    with serve(root) as server:
        yield server


def test_only_the_http_client_needs_httpx(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "httpx", None)
        assert server.infer("echo", "a") == "a"
        with pytest.raises(ImportError, match=r"pip install 'tempo_runtime\[testing\]'"):
            server.post("echo", {})
    assert server.post("echo", {}).status_code == 422


def test_the_garbage_collector_leaves_out_what_the_server_imported(server: Server) -> None:
    assert server.infer("searched") == {"mlserver": False, "the pipeline": True}


def not_there(process: int) -> bool:
    try:
        os.killpg(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_importing_it_imports_nothing_heavy() -> None:
    code = f"import sys, tempo_runtime.testing; print(set({HEAVY}) & set(sys.modules))"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"
