"""Arguments, options and words that several commands share."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import click
from click.shell_completion import CompletionItem

from tempo_runtime.errors import AuthoringError, TempoError

artefact_argument = click.argument("artefact", type=click.Path(exists=True, file_okay=False))
json_option = click.option("--json", "as_json", is_flag=True, help="For machines.")


def complete_folders(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Has the shell complete folders, for what may be something else as well."""
    return [CompletionItem(incomplete, type="dir")]


def complete_deployments(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Has the shell complete the names of deployments."""
    from tempo_runtime.deploy import found

    names = sorted({each.name for each in found.deployments()})
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def complete_targets(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Has the shell complete what can be called: folders, and names of deployments."""
    named = complete_deployments(ctx, param, incomplete)
    return [*named, *complete_folders(ctx, param, incomplete)]


def pair(text: str, option: str) -> tuple[str, str]:
    """A `KEY=VALUE` of the command line."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise click.UsageError(f"{option} takes KEY=VALUE")  # not the text: it may be a secret
    return key, value


def print_whole(*shown: Any) -> None:
    """Prints for people, with names and addresses whole, for copying, however narrow the window is."""
    from rich.console import Console

    Console(highlight=False, width=1000).print(*shown)


def echo_json(content: Any) -> None:
    """Prints what a machine reads."""
    click.echo(json.dumps(content, indent=2))


def size(count: int) -> str:
    """A number of bytes, for people."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def imported(name: str) -> Any:
    """What a `MODULE:NAME` of the command line is, as `python -m` would find the module."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise click.BadParameter(f"{name!r} is neither a folder nor like shop:Shop")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise click.BadParameter(f"{name}: there is no module {error.name!r} here") from error
    except AttributeError as error:
        raise click.BadParameter(f"{name}: {error}") from error
    except TempoError:
        raise
    except Exception as error:
        raise AuthoringError(
            f"{name} cannot be imported: {type(error).__name__}: {error}"
        ) from error
