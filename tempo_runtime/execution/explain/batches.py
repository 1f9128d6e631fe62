"""Many rows in one request: each explained as if it had come alone, with their calls shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import Condition
from typing import TYPE_CHECKING, Any

import numpy as np

from tempo_runtime.execution.explain import randomness

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TOGETHER = 8  # rows in work at once; each has some MB of samples
_Predictor = Callable[["NDArray[Any]"], "NDArray[Any]"]


class Explanations(list[Any]):
    """What alibi gives for each row of a payload, in order."""

    def to_json(self) -> str:
        """Return all of them, as a JSON array of alibi's objects."""
        return f"[{', '.join(each.to_json() for each in self)}]"


def explain_each(
    copies: Callable[[], Any], rows: NDArray[Any], *args: Any, together: bool, **kwargs: Any
) -> Explanations:
    """Explains each row with an explainer of its own, and the random numbers it would have alone.

    Args:
        copies: Gives an explainer that can serve one call while others run.
        rows: (n, features).
        args: Passed to `explain`.
        together: Whether rows may share calls of the predictor.
        kwargs: Passed to `explain`.
    """
    generator = randomness.own()
    start = None if generator is None else generator.get_state()

    def one(number: int) -> Any:
        with randomness.stream_from(start):
            return copies().explain(rows[number : number + 1], *args, **kwargs)

    def one_of_many(number: int, meeting: Rendezvous) -> Any:
        with meeting, randomness.stream_from(start):
            explainer = copies()
            sampler = explainer.samplers[0]
            sampler.predictor = meeting.of(sampler.predictor)
            return explainer.explain(rows[number : number + 1], *args, **kwargs)

    if start is None or not together:
        return Explanations(map(one, range(len(rows))))
    # Each row goes its own way, so they meet again and again, and those who are there go together.
    meeting = Rendezvous(len(rows), min(_TOGETHER, len(rows)))
    with ThreadPoolExecutor(min(_TOGETHER, len(rows)), "tempo-rows") as threads:
        work = [
            threads.submit(copy_context().run, one_of_many, number, meeting)
            for number in range(len(rows))
        ]
        return Explanations(each.result() for each in work)


class Rendezvous:
    """Where threads wait until all have rows to predict, and one call is made for all.

    Args:
        members: Threads' turns that will come.
        places: Of which so many are here at once, until fewer are left.
    """

    def __init__(self, members: int, places: int) -> None:
        self._left = members
        self._places = places
        self._changed = Condition()
        self._waiting: list[_Asked] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        """One is done; if all others wait, nobody else would call for them."""
        with self._changed:
            self._left -= 1
            asked = self._complete()
        _answer(asked)
        with self._changed:
            self._changed.notify_all()

    def of(self, predictor: _Predictor) -> _Predictor:
        """Return that predictor for one thread."""
        return _Member(self, predictor)

    def ask(self, predictor: _Predictor, rows: NDArray[Any]) -> NDArray[Any]:
        """Ask a predictor, together with the others."""
        own = _Asked(predictor, rows)
        with self._changed:
            self._waiting.append(own)
            asked = self._complete()
        _answer(asked)
        with self._changed:
            if asked:
                self._changed.notify_all()
            self._changed.wait_for(lambda: own.done)
        if own.error is not None:
            raise own.error
        return own.labels  # type: ignore[no-any-return]

    def _complete(self) -> Sequence[_Asked]:
        """Those who wait, if nobody else is to come."""
        if len(self._waiting) < min(self._places, self._left):
            return ()
        asked, self._waiting = self._waiting, []
        return asked


class _Member:
    """A predictor as one thread asks it in a meeting."""

    def __init__(self, meeting: Rendezvous, predictor: _Predictor) -> None:
        self.predictor = predictor
        self._meeting = meeting

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        return self._meeting.ask(self.predictor, rows)


class _Asked:
    def __init__(self, predictor: _Predictor, rows: NDArray[Any]) -> None:
        self.predictor = predictor
        self.rows = rows
        self.done = False
        self.labels: Any = None
        self.error: BaseException | None = None


def _answer(asked: Sequence[_Asked]) -> None:
    """Make one call for all of them."""
    if not asked:
        return
    try:
        labels = asked[0].predictor(np.concatenate([each.rows for each in asked]))
        ends = np.cumsum([len(each.rows) for each in asked])
        for each, part in zip(asked, np.split(labels, ends[:-1])):
            each.labels = part
    except BaseException as error:
        for each in asked:
            each.error = error
    for each in asked:
        each.done = True
