"""The state of a loaded pipeline and of the models it calls, at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tempo_runtime.clients.remote import RemoteTransport
from tempo_runtime.request.breaker import State


@dataclass(frozen=True)
class LiveState:
    """State of a pipeline, or of a child of one.

    Attributes:
        ready: Whether it can be called; None if that is not known.
        problem: Why it cannot.
        breakers: The circuit breaker of each server that it is called on, by URL.
        served_as: The model of the pipeline's own server that it is: its name, and its version or None.
        children: Those of a pipeline in this process, by alias; None if they are not known.
    """

    ready: bool | None = None
    problem: str | None = None
    breakers: Mapping[str, State] = field(default_factory=dict)
    served_as: tuple[str, str | None] | None = None
    children: Mapping[str, LiveState] | None = None


def of_calls(transport: RemoteTransport, problem: str | None = None) -> LiveState:
    """Return the state of a child on a server, as far as its calls show it.

    Args:
        transport: What calls it.
        problem: Why it cannot be called, if that is known otherwise.
    """
    problem = problem or transport.problem
    return LiveState(None if problem is None else False, problem, transport.breakers)


def of_workers(states: Sequence[LiveState]) -> LiveState:
    """Return the state of what several processes have loaded: the worst of their states.

    Args:
        states: Its state in each process; at least one.
    """
    first = states[0]
    known = [state.ready for state in states if state.ready is not None]
    breakers: dict[str, State] = {}
    for state in states:
        for url, breaker in state.breakers.items():
            breakers[url] = max(breaker, breakers.get(url, breaker), key=lambda one: one.value)
    children = None
    if first.children is not None:
        children = {
            alias: of_workers([state.children[alias] for state in states if state.children])
            for alias in first.children
        }
    return LiveState(
        all(known) if known else None,
        next((state.problem for state in states if state.problem), None),
        breakers,
        first.served_as,
        children,
    )
