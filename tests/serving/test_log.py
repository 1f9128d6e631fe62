"""What a server's log says of why it ended."""

from __future__ import annotations

import os
from pathlib import Path

from tempo_runtime.printable import printable_log
from tempo_runtime.serving.log import Log, reason

FAILED = """\
2026-11-25 20:22:39,808 [mlserver][forest] INFO - Couldn't load model 'forest'. Model will be removed.
2026-11-25 20:22:39,820 [mlserver] ERROR - Some of the models failed to load during startup!
Traceback (most recent call last):
  File "server.py", line 125, in start
    await asyncio.gather(
OSError: [Errno 2] No such file

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "registry.py", line 9, in load
mlserver.errors.MLServerError: nothing says where child 'a' is
INFO:     Shutting down
Note: not an error
"""
INVALID = """\
Traceback (most recent call last):
  File "settings.py", line 370, in parse_file
pydantic_core._pydantic_core.ValidationError: 2 validation errors for ModelSettings
max_batch_size
  Input should be a valid integer [type=int_parsing, input_value='many', input_type=str]
    For further information visit https://errors.pydantic.dev/2.14/v/int_parsing
parameters.uri
  Input should be a valid string [type=string_type, input_value=5, input_type=int]
    For further information visit https://errors.pydantic.dev/2.14/v/string_type
INFO:     Shutting down
"""


def test_it_is_the_errors_and_the_models_that_failed() -> None:
    assert reason(FAILED) == (
        "forest: OSError: [Errno 2] No such file; nothing says where child 'a' is"
    )


def test_of_an_invalid_file_it_is_each_field_with_its_fault() -> None:
    assert reason(INVALID) == (
        "ValidationError: 2 validation errors for ModelSettings: max_batch_size: Input should be a "
        "valid integer [type=int_parsing, input_value='many', input_type=str], parameters.uri: Input "
        "should be a valid string [type=string_type, input_value=5, input_type=int]"
    )


def test_without_an_error_it_is_the_last_lines() -> None:
    log = "".join(f"line {number}\n\n" for number in range(20))
    assert reason(log).splitlines() == [f"line {number}" for number in range(12, 20)]
    assert reason("") == ""


def test_lines_are_kept_and_passed_on_once_that_is_asked_for(tmp_path: Path) -> None:
    read, written = os.pipe()
    with open(written, "wb", buffering=0) as output, open(tmp_path / "passed", "wb") as to:
        log = Log(os.fdopen(read, "rb"))
        log.pass_on(to)
        output.write(b"first\nsecond\n")
        output.close()
        assert log.text() == "first\nsecond\n"
    assert (tmp_path / "passed").read_text() == "first\nsecond\n"


def test_colours_of_a_log_are_passed_on_and_nothing_else_that_steers_a_terminal() -> None:
    colours = "\x1b[32mINFO\x1b[0m \x1b[1;38;5;208mready\x1b[m"
    assert printable_log(colours) == colours
    hostile = "\x1b[2J\x1b]0;owned\x07\x1b[8mhidden \x1b[1;8mtoo\x1b[08;1m"
    assert "\x1b" not in printable_log(hostile)
    assert printable_log("käse\t1\n") == "käse\t1\n"
