"""Arguments, options and words that several commands share."""

from __future__ import annotations

import json
from typing import Any

import click

artefact_argument = click.argument("artefact", type=click.Path(exists=True, file_okay=False))
json_option = click.option("--json", "as_json", is_flag=True, help="For machines.")


def echo_json(content: Any) -> None:
    """Prints what a machine reads."""
    click.echo(json.dumps(content, indent=2))


def size(count: int) -> str:
    """A number of bytes, for people."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
