"""The ways from a caller to a pipeline, each as something to send a value by and to get one by."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import tempo_runtime
from tempo_runtime import LocalOptions, deploy_local
from tempo_runtime.authoring.decorators import describe
from tempo_runtime.clients import http
from tempo_runtime.clients.binary_use import BinaryUse
from tempo_runtime.execution.loading import ChildResolver
from tempo_runtime.request.portal import background
from tempo_runtime.settings import PipelineSettings
from tempo_runtime.testing import serve
from tests.fidelity import pipelines
from tests.fidelity.identity import identity
from tests.fidelity.values import VALUES, Row

Call = Callable[..., Any]


class AlwaysBinary(BinaryUse):
    """Sends every request as binary data, however small."""

    def suits(self, *_: Any) -> bool:
        return True

    def refused(self) -> None:
        raise AssertionError("a server refused binary data")


@dataclass(frozen=True)
class Route:
    """One way.

    Attributes:
        send: `case -> identity` of what the pipeline got.
        fetch: `case -> identity` of what the caller got.
        give: `hint, value -> identity` of what the pipeline got; None where another pipeline calls.
    """

    send: Callable[[str], str]
    fetch: Callable[[str], str]
    give: Callable[[str, Any], str] | None = None


def calling(call_of: Callable[[str], Call]) -> Route:
    """A way on which the caller has the value, and pipelines are called by their names."""

    def give(hint: str, value: Any) -> str:
        return str(call_of("seen")(**{pipelines.NAMES[hint]: value}))

    def send(case: str) -> str:
        return give(VALUES[case].hint, VALUES[case].make())

    def fetch(case: str) -> str:
        hint = VALUES[case].hint
        if hint in pipelines.GIVERS:
            return identity(call_of(describe(pipelines.GIVERS[hint]).details.name)(case))
        return identity(call_of("given")(case)[pipelines.NAMES[hint]])

    return Route(send, fetch, give)


def nested(call_of: Callable[[str], Call]) -> Route:
    """A way on which another pipeline has the value, and calls on with it."""
    return Route(lambda case: call_of("sender")(case), lambda case: call_of("receiver")(case))


@contextlib.contextmanager
def all_routes(root: Path) -> Iterator[dict[str, Route]]:
    """Every way, its servers up until the block ends."""
    folders = {}
    for target in pipelines.ALL:
        name = describe(target).details.name
        folders[name] = tempo_runtime.save(target, str(root / name))
        describe(target)._details = _located(target, folders[name])
    plain = {describe(target).details.name: target for target in pipelines.ALL}
    with contextlib.ExitStack() as stack:
        loaded = {name: tempo_runtime.load(folder) for name, folder in folders.items()}
        deployed = {transport: _deployed(stack, plain, transport) for transport in ("http", "grpc")}
        in_process = stack.enter_context(serve(*folders.values()))
        siblings = stack.enter_context(
            serve(
                *folders.values(),
                settings={"parallel_workers": 2},
                env={"TEMPO_RUNTIME_TRANSPORT": "http"},
                timeout=120,
            )
        )
        children = {url: _children(stack, url) for url in (in_process.url, siblings.url)}
        over_grpc = _children(stack, f"grpc://{siblings.grpc}")
        with mock.patch.object(http, "BinaryUse", AlwaysBinary):
            binary = {url: _children(stack, url) for url in (in_process.url, siblings.url)}
        yield {
            "direct": calling(plain.__getitem__),
            "saved and loaded": calling(loaded.__getitem__),
            "a child in the same process": nested(plain.__getitem__),
            "deploy_local over HTTP": calling(deployed["http"].__getitem__),
            "deploy_local over gRPC": calling(deployed["grpc"].__getitem__),
            "two workers over HTTP": calling(children[siblings.url].__getitem__),
            "two workers over gRPC": calling(over_grpc.__getitem__),
            "binary data over HTTP": calling(binary[in_process.url].__getitem__),
            "binary data to two workers": calling(binary[siblings.url].__getitem__),
            "a nested pipeline in a server": nested(children[in_process.url].__getitem__),
            "a nested pipeline on two servers": nested(children[siblings.url].__getitem__),
        }


def _located(target: Any, folder: str) -> Any:
    return replace(describe(target).details, local_folder=folder)


def _deployed(
    stack: contextlib.ExitStack, targets: dict[str, Any], transport: str
) -> dict[str, Call]:
    found = {}
    for name in ("seen", "given", "given-frame", "given-any"):
        # Deployed again over another transport, its server goes on.
        options = LocalOptions(transport=transport)
        remote = deploy_local(targets[name], options)
        stack.callback(remote.undeploy)
        found[name] = remote.predict
    return found


def _children(stack: contextlib.ExitStack, url: str) -> dict[str, Call]:
    connector = ChildResolver(PipelineSettings(base_url=(url,)), background())
    stack.callback(lambda: background().run(connector.close()))
    return {
        describe(target).details.name: connector.child(
            describe(target).details.name, describe(target).reference()
        )
        for target in pipelines.ALL
    }


def expected(row: Row) -> str:
    """The identity of what arrives."""
    return identity(row.expected)
