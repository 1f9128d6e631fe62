"""Arguments, options and words that several commands share."""

from __future__ import annotations

import difflib
import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from tempo_runtime.cli.terminal import console
from tempo_runtime.errors import AuthoringError, TempoError

_YEAR = 365 * 24 * 3600


class _Folder(click.Path):
    """A folder that exists; the error for a missing one suggests the one that was probably meant."""

    def __init__(self) -> None:
        super().__init__(exists=True, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.path.exists(value):
            self.fail(f"there is no folder {value!r}{meant_path(value)}", param, ctx)
        return super().convert(value, param, ctx)


artifact_argument = click.argument("artifact", type=_Folder())


class Seconds(click.FloatRange):
    """Seconds that an operation may take: a number above 0, up to a year."""

    def __init__(self) -> None:
        super().__init__(0, min_open=True)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Convert the text of a command line."""
        found = float(super().convert(value, param, ctx))
        if not found <= _YEAR:  # also for nan, which every range takes
            self.fail(f"{value!r}: give seconds, a year ({_YEAR}) at most", param, ctx)
        return found


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
    from tempo_runtime.deploy.local import find as found

    names = sorted({each.name for each in found.deployments()})
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def complete_targets(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Has the shell complete what can be called: folders, and names of deployments."""
    named = complete_deployments(ctx, param, incomplete)
    return [*named, *complete_folders(ctx, param, incomplete)]


def stale_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--stale` to a command that takes a pipeline as MODULE:NAME."""
    return click.option(
        "--stale",
        type=click.Choice(["save", "refuse"]),
        default="save",
        show_default=True,
        help="What to do if MODULE:NAME has changed since its artifact was saved.",
    )(command)


def folder_or_object(text: str) -> Any:
    """Return the folder of an ARTIFACT, or the object that MODULE:NAME names."""
    return text if os.path.isdir(text) else imported(text)


def pair(text: str, option: str) -> tuple[str, str]:
    """Return a `KEY=VALUE` of the command line."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise click.UsageError(f"{option} takes KEY=VALUE")  # not the text: it may be a secret
    return key, value


def print_whole(*shown: Any) -> None:
    """Print for people, with names and addresses whole, for copying, however narrow the window is."""
    console(width=1000).print(*shown)


def echo_json(content: Any) -> None:
    """Print what a machine reads."""
    click.echo(json.dumps(content, indent=2))


def size(count: int) -> str:
    """Return a number of bytes, for people."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def imported(name: str) -> Any:
    """Return what a `MODULE:NAME` of the command line is, as `python -m` would find the module."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise click.BadParameter(
            f"{name!r} is neither a folder nor MODULE:NAME, such as shop:Shop{meant_path(name)}"
        )
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        meant = _meant(module, _modules_here()) if error.name == module else ""
        line = _author_line(error)
        where = f", which {line} imports" if line else f" here{meant}"
        raise click.BadParameter(f"{name}: there is no module {error.name!r}{where}") from error
    except TempoError:
        raise
    except (Exception, SystemExit) as error:
        from tempo_runtime.execution.blame import named

        line = _author_line(error)
        place = f" at {line}" if line else ""
        if isinstance(error, SystemExit):
            place += '; call what ends the program under `if __name__ == "__main__":`'
        raise AuthoringError(f"{name} cannot be imported: {named(error)}{place}") from error
    try:
        return getattr(found, attribute)
    except AttributeError:
        models = [each for each, value in vars(found).items() if hasattr(value, "get_tempo")]
        has = f"; it has {', '.join(models)}" if models else ", nor any model"
        meant = _meant(attribute, models) or _meant(attribute, list(vars(found))) or has
        raise click.BadParameter(
            f"{name}: module {module!r} has no attribute {attribute!r}{meant}"
        ) from None


def _author_line(error: BaseException) -> str | None:
    from tempo_runtime.execution.blame import author_line

    return author_line(error)


def _meant(name: str, known: list[str]) -> str:
    lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), lower, n=1)
    return f"; did you mean {lower[close[0]]!r}?" if close else ""


def meant_path(path: str) -> str:
    """Suggest the path that was probably meant by one that does not exist.

    Args:
        path: The path. If it is a module's name or file, the text shows how to name what is in it.
    """
    module = path.removesuffix(".py")
    if os.path.isfile(f"{module}.py"):
        name = module.strip("./").replace(os.sep, ".")
        return f"; {module}.py is a module: name what is in it, as in {name}:NAME"
    folder, name = os.path.split(path.rstrip(os.sep))
    try:
        with os.scandir(folder or ".") as there:
            found = [each.name for each in there if each.is_dir()]
    except OSError:
        return ""
    known = [os.path.join(folder, each) for each in found]
    return _meant(os.path.join(folder, name), known)


def _modules_here() -> list[str]:
    """List modules and packages in the current folder."""
    with os.scandir() as there:
        found = [each.name for each in there if each.name.endswith(".py") or each.is_dir()]
    return [name.removesuffix(".py") for name in found]
