"""Many calls to three nested pipelines, some with wrong rows, while the children restart.

`python -m tests.errors.soak [--calls 10000] [--restarts 10]`. Eight clients call a pipeline whose child
calls a child, each on a server of its own; two of them send rows that the innermost refuses. Meanwhile
the two children end and start again in turn. The other clients must lose nothing that their deadline
allows, and while every server is up, no breaker may open and no call may be made again. The exit status
is 1 where that is not so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from tempo_runtime import save
from tempo_runtime.testing import Server, serve
from tests.errors.nested import Front, Prices, Shop

CLIENTS, WRONG = 8, 2
DEADLINE = 120.0  # seconds a request has, in which a child has time to start on a busy machine
_STATE, _RETRIES = "tempo_child_breaker_state", "tempo_child_retries_total"


@dataclass
class Report:
    """Outcomes of the calls.

    Attributes:
        statuses: Answers to the clients with wrong rows, by status.
        good: Right answers to the others.
        lost: What the others got in the place of an answer.
        opened: What a breaker was, or a retry counted, while every server was up.
        restarts: How often a child was restarted.
        slowest: Seconds of the slowest right answer.
        seconds: Seconds of all.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    good: int = 0
    lost: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    restarts: int = 0
    slowest: float = 0.0
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether a client lost what another one did."""
        return bool(self.lost or self.opened or set(self.statuses) - {422})


class Soak:
    """The servers, the clients and what is counted.

    Args:
        calls: How many calls there are in all.
        restarts: How often one of the children is restarted meanwhile.
    """

    def __init__(self, calls: int, restarts: int) -> None:
        self._calls, self._restarts = calls, restarts
        self._lock = threading.Lock()
        self._done = 0
        self._progress = threading.Condition(self._lock)
        self.report = Report()

    def run(self) -> Report:
        """Make all calls."""
        begin = time.monotonic()
        with (
            tempfile.TemporaryDirectory(prefix="tempo-soak-") as root,
            _servers(Path(root)) as all_,
        ):
            front, *children = all_
            with ThreadPoolExecutor(CLIENTS) as pool:
                clients = [pool.submit(self._client, front, number) for number in range(CLIENTS)]
                well = _metrics(*all_)
                for restart in range(self._restarts):
                    self._wait_for(self._calls * (restart + 1) // (self._restarts + 1))
                    self._compare(well, _metrics(*all_))
                    children[restart % len(children)].restart(timeout=180)
                    self.report.restarts += 1
                    _answer(front, 1.0, "")  # every breaker has closed again once it is here
                    well = _metrics(*all_)
                for client in clients:
                    client.result()
            self._compare(well, _metrics(*all_))
        self.report.seconds = time.monotonic() - begin
        return self.report

    def _client(self, front: Server, number: int) -> None:
        wrong = number < WRONG
        for call in range(self._calls // CLIENTS):
            begin = time.monotonic()
            status, said = _answer(front, float(call), "wrong rows" if wrong else "")
            with self._progress:
                if wrong:
                    self.report.statuses[status] += 1
                elif status == 200 and said == [2.0 * call]:
                    self.report.good += 1
                    self.report.slowest = max(self.report.slowest, time.monotonic() - begin)
                else:
                    self.report.lost.append(f"{status}: {said}")
                self._done += 1
                self._progress.notify_all()

    def _wait_for(self, done: int) -> None:
        with self._progress:
            self._progress.wait_for(lambda: self._done >= done)

    def _compare(
        self, before: dict[tuple[str, str], float], now: dict[tuple[str, str], float]
    ) -> None:
        """Compare two looks, between which all servers were up."""
        for name, value in now.items():
            expected = before.get(name, 0.0) if name[0] == _RETRIES else 0.0
            if value != expected:
                self.report.opened.append(f"{name}: {value:g}, not {expected:g}")


@contextlib.contextmanager
def _servers(root: Path) -> Iterator[list[Server]]:
    """The servers, the outermost first."""
    with contextlib.ExitStack() as stack:
        servers: list[Server] = []
        env = {
            "TEMPO_RUNTIME_TIMEOUT": f"{DEADLINE}",
            "TEMPO_RUNTIME_UNAVAILABLE_TIMEOUT": f"{DEADLINE}",
        }
        for target in (Prices, Shop, Front):
            folder = save(target, str(root / target.__name__))
            own = {**env, "TEMPO_RUNTIME_BASE_URL": servers[0].url} if servers else env
            servers.insert(0, stack.enter_context(serve(folder, env=own, timeout=180)))
        yield servers


def _answer(server: Server, row: float, how: str) -> tuple[int, Any]:
    """The status of one call, and its result or error."""
    inputs = [
        {"name": "rows", "datatype": "FP64", "shape": [1], "data": [row]},
        {"name": "how", "datatype": "BYTES", "shape": [1], "data": [how]},
    ]
    place = urlsplit(server.url).netloc
    headers = {"content-type": "application/json"}
    with contextlib.closing(HTTPConnection(place, timeout=2 * DEADLINE)) as connection:
        try:
            connection.request(
                "POST", "/v2/models/front/infer", json.dumps({"inputs": inputs}), headers
            )
            answer = connection.getresponse()
            said = json.loads(answer.read())
        except (OSError, HTTPException) as error:
            return 0, repr(error)
    return answer.status, said["outputs"][0]["data"] if answer.status == 200 else said


def _metrics(*servers: Server) -> dict[tuple[str, str], float]:
    """Breakers and retries of the pipelines that call another."""
    found = {}
    for server in servers:
        with urlopen(server.metrics) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name in (_STATE, _RETRIES):
                    found[sample.name, sample.labels["pipeline"]] = sample.value
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run it, and print what became of the calls."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000, help="calls in all (10000)")
    parser.add_argument("--restarts", type=int, default=10, help="restarts of children (10)")
    options = parser.parse_args(argv)
    report = Soak(options.calls, options.restarts).run()
    print(
        f"{report.good} right answers, {len(report.lost)} lost; wrong rows answered "
        f"{dict(report.statuses)}; {report.restarts} restarts; {len(report.opened)} breakers or "
        f"retries while all was well; slowest answer {report.slowest:.1f} s; {report.seconds:.0f} s"
    )
    for line in [*report.lost[:5], *report.opened[:5]]:
        print(line)
    return int(report.failed)


if __name__ == "__main__":
    sys.exit(main())
