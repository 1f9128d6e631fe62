"""Sends random requests for some minutes: `python -m tests.fuzz --minutes 5`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.requests import Client, Silence, client

_SETTINGS = settings(
    max_examples=100,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def _send(sender: Client) -> None:
    @_SETTINGS
    @given(data=st.data(), over_http=st.booleans())
    def send(data: st.DataObject, over_http: bool) -> None:
        (sender.over_http if over_http else sender.over_grpc)(data)

    send()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    end = time.monotonic() + 60 * parser.parse_args().minutes
    silences = []
    with (
        tempfile.TemporaryDirectory(prefix="tempo-fuzz-") as folder,
        client(Path(folder)) as sender,
    ):
        sender.silence()
        while time.monotonic() < end:
            _send(sender)
            silences.append(sender.silence())
        faults = sender.faults()
    print(f"{sum(sender.answers.values())} requests: {dict(sender.answers)}")
    for name, each in zip(Silence._fields, zip(*silences)):
        found = ", ".join(f"{1000 * seconds:.0f}" for seconds in each)
        print(f"longest silence of the event loop, {name}, ms: {1000 * max(each):.0f} ({found})")
    print(f"faults of ours in the log: {len(faults)}", *faults[:3], sep="\n")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
