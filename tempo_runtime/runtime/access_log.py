"""Write one line for each request that a pipeline has answered."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import datetime, timezone
from typing import Any

import orjson

NAME = "tempo_runtime.access"
_PLAIN = re.compile(r"[^\s\"=\\]+")
logger = logging.getLogger(NAME)


class AccessLog:
    """The access log of one pipeline.

    Lines go to the handlers of the logger `tempo_runtime.access`, or to standard output if the process
    has not configured any.

    Args:
        pipeline: Name of the pipeline.
        version: Its version, if it has one.
        form: `text` or `json`.
    """

    def __init__(self, pipeline: str, version: str | None, form: str) -> None:
        self._constant = {"pipeline": pipeline} | ({"version": version} if version else {})
        self._write = _json if form == "json" else _text
        _configure()

    def write(
        self,
        id_: str,
        transport: str,
        status: int,
        seconds: float,
        child_seconds: float,
        error: str | None = None,
        trace_id: str | None = None,
    ) -> None:
        """Write the line of a request.

        Args:
            id_: Its id.
            transport: How it came: `http` or `grpc`.
            status: Status of its answer.
            seconds: Time from its arrival in the pipeline to its answer.
            child_seconds: Time of all its calls to children.
            error: Class of the error, if it failed.
            trace_id: Id of its trace, if it is traced.
        """
        fields: dict[str, Any] = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "id": id_,
            **self._constant,
            "status": status,
            "ms": round(seconds * 1000, 1),
            "child_ms": round(child_seconds * 1000, 1),
            "transport": transport,
        }
        if error is not None:
            fields["error"] = error
        if trace_id is not None:
            fields["trace_id"] = trace_id
        logger.info(self._write(fields))


def _json(fields: dict[str, Any]) -> str:
    return orjson.dumps(fields).decode()


def _text(fields: dict[str, Any]) -> str:
    return " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())


def _quoted(value: Any) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) and text.isprintable() else json.dumps(text)


def _configure() -> None:
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if not logger.hasHandlers():
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
