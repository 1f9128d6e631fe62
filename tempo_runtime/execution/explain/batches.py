"""Explain several rows of one request, each as if it were alone, with shared calls of the predictor."""

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

_CONCURRENT = 8  # rows explained at the same time; each needs some MB for samples
_Predictor = Callable[["NDArray[Any]"], "NDArray[Any]"]


class Explanations(list[Any]):
    """alibi's explanations of the rows of a payload, in order."""

    def to_json(self) -> str:
        """Return a JSON array of the explanations."""
        return f"[{', '.join(explanation.to_json() for explanation in self)}]"


def explain_each(
    copies: Callable[[], Any], rows: NDArray[Any], *args: Any, together: bool, **kwargs: Any
) -> Explanations:
    """Explain each row with its own copy of an explainer, and the same random numbers as alone.

    Args:
        copies: Returns a copy of the explainer that can serve one call while others run.
        rows: The rows, of shape (n, features).
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
    # The searches of the rows differ, so they meet again and again, and those present share a call.
    meeting = Rendezvous(len(rows), min(_CONCURRENT, len(rows)))
    with ThreadPoolExecutor(min(_CONCURRENT, len(rows)), "tempo-rows") as threads:
        work = [
            threads.submit(copy_context().run, one_of_many, number, meeting)
            for number in range(len(rows))
        ]
        return Explanations(future.result() for future in work)


class Rendezvous:
    """A point at which threads wait until all have rows to predict; then one call predicts them all.

    Args:
        members: Number of rows to explain, each by one thread.
        places: Number of threads that work at the same time.
    """

    def __init__(self, members: int, places: int) -> None:
        self._left = members
        self._places = places
        self._changed = Condition()
        self._waiting: list[_Question] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        """Leave; if all others are waiting, make the call for them."""
        with self._changed:
            self._left -= 1
            questions = self._take_complete()
        _answer(questions)
        with self._changed:
            self._changed.notify_all()

    def of(self, predictor: _Predictor) -> _Predictor:
        """Return the predictor for one thread: its calls wait for the other threads."""
        return _Member(self, predictor)

    def ask(self, predictor: _Predictor, rows: NDArray[Any]) -> NDArray[Any]:
        """Call a predictor, together with the other threads."""
        question = _Question(predictor, rows)
        with self._changed:
            self._waiting.append(question)
            questions = self._take_complete()
        _answer(questions)
        with self._changed:
            if questions:
                self._changed.notify_all()
            self._changed.wait_for(lambda: question.done)
        if question.error is not None:
            raise question.error
        return question.labels  # type: ignore[no-any-return]

    def _take_complete(self) -> Sequence[_Question]:
        """Take the questions of all threads, once all of them are waiting."""
        if len(self._waiting) < min(self._places, self._left):
            return ()
        questions, self._waiting = self._waiting, []
        return questions


class _Member:
    """A predictor as one thread calls it in a meeting."""

    def __init__(self, meeting: Rendezvous, predictor: _Predictor) -> None:
        self.predictor = predictor
        self._meeting = meeting

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        return self._meeting.ask(self.predictor, rows)


class _Question:
    def __init__(self, predictor: _Predictor, rows: NDArray[Any]) -> None:
        self.predictor = predictor
        self.rows = rows
        self.done = False
        self.labels: Any = None
        self.error: BaseException | None = None


def _answer(questions: Sequence[_Question]) -> None:
    """Answer all questions by one call of the predictor."""
    if not questions:
        return
    try:
        rows = np.concatenate([question.rows for question in questions])
        labels = questions[0].predictor(rows)
        ends = np.cumsum([len(question.rows) for question in questions])
        for question, part in zip(questions, np.split(labels, ends[:-1])):
            question.labels = part
    except BaseException as error:
        for question in questions:
            question.error = error
    for question in questions:
        question.done = True
