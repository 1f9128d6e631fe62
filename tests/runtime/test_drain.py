"""A server's process that does not end in time is killed."""

from __future__ import annotations

import signal
import subprocess
import sys

# Its loop is blocked, as by a request that hangs.
_HANGING = """
import asyncio
import os
import signal
import time

from tempo_runtime.runtime import drain


def fail():
    raise OSError("no collector")


async def serve():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        asyncio.get_running_loop().add_signal_handler(number, lambda: None)
    drain.watch(0.1)
    drain.before_killing(fail)
    drain.before_killing(lambda: print("exported", flush=True))
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


asyncio.run(serve())
"""


def test_it_does_all_that_it_was_given_to_do_before_it_is_killed() -> None:
    command = [sys.executable, "-c", _HANGING]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (128 + signal.SIGTERM, "exported\n")
    assert "no collector" in ended.stderr
