"""The reason in a server's log why it ended."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tempo_runtime._util.printable import printable_log
from tempo_runtime.servers.log import Log, reason

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


def test_the_reason_has_the_errors_and_the_failed_models() -> None:
    assert reason(FAILED) == (
        "forest: OSError: [Errno 2] No such file; nothing says where child 'a' is"
    )


def test_the_reason_for_an_invalid_file_has_each_field_with_its_fault() -> None:
    assert reason(INVALID) == (
        "ValidationError: 2 validation errors for ModelSettings: max_batch_size: Input should be a "
        "valid integer [type=int_parsing, input_value='many', input_type=str], parameters.uri: Input "
        "should be a valid string [type=string_type, input_value=5, input_type=int]"
    )


def test_without_an_error_the_reason_is_the_last_lines() -> None:
    log = "".join(f"line {number}\n\n" for number in range(20))
    assert reason(log).splitlines() == [f"line {number}" for number in range(12, 20)]
    assert reason("") == ""


def test_a_warning_is_not_the_reason_if_there_is_another_line() -> None:
    warning = "2026-11-30 20:45:20,778 [mlserver] WARNING - Model name 'plus' is different\n"
    assert reason(f"{warning}killed\n") == "killed"
    assert reason(warning) == warning.strip()


LOGS = Path(__file__).parents[1] / "data/logs"
BROKEN = "plus: IndexError: pop from empty list"
CUSTOM = "plus: KeyError: 'south' at /mnt/models/plain.py:6"
TOLD = {
    "mlserver-1.3.5-constructor": CUSTOM,
    "mlserver-1.3.5-invalid": (
        "ValidationError: 1 validation error for ModelSettings: max_batch_size: value is not a valid "
        "integer (type=type_error.integer)"
    ),
    "mlserver-1.3.5-pickle": BROKEN,
    "mlserver-1.6.1-constructor": CUSTOM,
    "mlserver-1.6.1-package": (
        "ModuleNotFoundError: No module named 'pandas_of_another_name' at /mnt/models/plain.py:1"
    ),
    "mlserver-1.6.1-pickle": BROKEN,
    "mlserver-1.7.1-constructor": CUSTOM,
    "pipeline-constructor": (
        "plus: pipeline 'plus': its constructor raised ValueError: no rate for south at "
        "/mnt/models/code/shop.py:19"
    ),
    "pipeline-load-method": (
        "plus: pipeline 'plus': load raised KeyError: 'south' at /mnt/models/code/shop.py:8"
    ),
    "mlserver-1.7.1-group": (
        "plus: ExceptionGroup: two rates are missing (2 sub-exceptions) at /mnt/models/plain.py:4; "
        "ValueError: no rate for south; KeyError: 'east'"
    ),
    "mlserver-1.7.1-tasks": (
        "plus: ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception) at "
        "/mnt/models/plain.py:7; ValueError: no rate for south at /mnt/models/plain.py:6"
    ),
    "mlserver-1.7.1-workers": "plus: RuntimeError: no rate for south at /mnt/models/helper.py:4",
    "mlserver-1.7.1-exit": "SystemExit: no rate for south at /mnt/models/plain.py:4",
    "mlserver-1.7.1-fault": "Segmentation fault at /mnt/models/plain.py:4",
    "kserve-storage-key": "Storage initialization failed: S3 error [403]: Forbidden",
    "kserve-storage-none": (
        "Storage initialization failed: Failed to fetch model. No model found in plus."
    ),
    "rclone-nofolder": "Failed to copy: directory not found",
    "rclone-noremote": (
        'Failed to create file system for "s3:models/plus": didn\'t find section in config file ("s3")'
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_the_reason_in_real_logs_is_the_error_and_the_authors_line(name: str) -> None:
    """Logs of MLServer, of rclone 1.75 and of KServe's storage initializer 0.20."""
    assert reason((LOGS / f"{name}.log").read_text()) == TOLD[name]


def test_an_exception_without_a_message_is_the_reason() -> None:
    assert reason("Traceback (most recent call last):\n  ...\nAssertionError\n") == "AssertionError"


def raised(text: str) -> str:
    frame = 'File "/mnt/models/code/shop.py", line 8, in load'
    return f"Traceback (most recent call last):\n  {frame}\n{text}\n"


PLACE = " at /mnt/models/code/shop.py:8"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ValueError: ", "ValueError"),
        ("shop.load.<locals>.Missing: south", "Missing: south"),
        ("ImportError: \nBert needs torch\n", "ImportError: Bert needs torch"),
        (
            'RuntimeError: Error(s) in loading state_dict for Net:\n\tMissing key(s): "a"\nINFO: x',
            'RuntimeError: Error(s) in loading state_dict for Net: Missing key(s): "a"',
        ),
        (
            "ValueError: \x1b[31mno rate\x1b[0m for \x1b]0;south",
            "ValueError: no rate for \\u001b]0;south",
        ),
        (
            "OSError: no postgresql://me:hunter2@db/rates?token=abc",
            "OSError: no postgresql://***@db/rates?token=***",
        ),
    ],
)
def test_the_message_of_an_exception_is_complete_and_without_secrets(text: str, told: str) -> None:
    assert reason(raised(text)) == told + PLACE


def test_an_exception_of_the_shutdown_is_not_the_reason() -> None:
    shutdown = "INFO:     Shutting down\n" + raised("RuntimeError: the loop is closed")
    assert reason(raised("KeyError: 'south'") + shutdown) == "KeyError: 'south'" + PLACE
    assert reason(shutdown) == "RuntimeError: the loop is closed" + PLACE


def test_an_exception_in_a_json_log_is_the_reason() -> None:
    entry = {"level": "ERROR", "exc_info": raised("KeyError: 'south'").rstrip(), "at": "12:00"}
    assert reason(f"{{}}\n{json.dumps(entry)}\n") == "KeyError: 'south'" + PLACE


def test_the_traces_of_a_stopped_server_are_not_the_reason() -> None:
    ended = "ERROR:    Traceback (most recent call last):\nasyncio.exceptions.CancelledError\n"
    assert reason(INVALID + ended) == reason(INVALID)


def test_if_errors_are_too_long_together_the_last_one_is_the_reason() -> None:
    assert reason(FAILED, longest=40) == "nothing says where child 'a' is"


def test_lines_are_kept_and_forwarded_on_request(tmp_path: Path) -> None:
    read, written = os.pipe()
    with open(written, "wb", buffering=0) as output, open(tmp_path / "passed", "wb") as to:
        log = Log(os.fdopen(read, "rb"))
        log.pass_on(to)
        output.write(b"first\nsecond\n")
        output.close()
        assert log.text() == "first\nsecond\n"
    assert (tmp_path / "passed").read_text() == "first\nsecond\n"


def test_only_the_colours_of_a_log_are_forwarded_to_a_terminal() -> None:
    colours = "\x1b[32mINFO\x1b[0m \x1b[1;38;5;208mready\x1b[m"
    assert printable_log(colours) == colours
    hostile = "\x1b[2J\x1b]0;owned\x07\x1b[8mhidden \x1b[1;8mtoo\x1b[08;1m"
    assert "\x1b" not in printable_log(hostile)
    assert printable_log("käse\t1\n") == "käse\t1\n"
