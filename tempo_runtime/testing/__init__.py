"""Tools for tests of your own pipelines; `docs/testing.md` shows how to use them.

Serve an artifact, for example:

    with serve("artifacts/explainer") as server:
        answer = server.infer("income-explainer", payload=rows, parameters={"threshold": 0.95})
"""

from __future__ import annotations

from tempo_runtime._util.ports import free_ports
from tempo_runtime.testing.children import ChildCall, fake_children, record_calls
from tempo_runtime.testing.fakes import FakeModel
from tempo_runtime.testing.script import Call
from tempo_runtime.testing.server import Server, ServerFailed, serve
from tempo_runtime.testing.steps import Answer, Delay, Fail, Hang, Step

__all__ = [
    "Answer",
    "Call",
    "ChildCall",
    "Delay",
    "Fail",
    "FakeModel",
    "Hang",
    "Server",
    "ServerFailed",
    "Step",
    "fake_children",
    "free_ports",
    "record_calls",
    "serve",
]
