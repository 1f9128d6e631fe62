"""The server in the process of a deployed model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tempo_runtime.servers.log import reason

pytestmark = pytest.mark.traced

_LAUNCH = """
import socket
from tempo_runtime.servers.launch import main
main(*(socket.create_server(("127.0.0.1", 0)).detach() for _ in range(2)))
"""


def test_a_model_that_mlserver_would_leave_out_ends_the_server(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    settings = {"name": "m", "implementation": "some.Model", "max_batch_size": "many"}
    (tmp_path / "m/model-settings.json").write_text(json.dumps(settings))
    (tmp_path / "settings.json").write_text(json.dumps({"parallel_workers": 0}))
    done = subprocess.run(
        [sys.executable, "-c", _LAUNCH],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "max_batch_size: Input should be a valid integer" in reason(done.stdout)
