"""Arguments, options and helpers that several commands share."""

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
    """An existing folder. If it is missing, the error suggests the folder that was probably meant."""

    def __init__(self) -> None:
        super().__init__(exists=True, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.path.exists(value):
            self.fail(f"there is no folder {value!r}{meant_path(value)}", param, ctx)
        return super().convert(value, param, ctx)


artifact_argument = click.argument("artifact", type=_Folder())


class Seconds(click.FloatRange):
    """Number of seconds that an operation may take: more than 0, at most a year."""

    def __init__(self) -> None:
        super().__init__(0, min_open=True)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Convert the text from the command line."""
        seconds = float(super().convert(value, param, ctx))
        if not seconds <= _YEAR:  # also refuses nan, which every range accepts
            self.fail(f"{value!r} is not a number of seconds up to a year ({_YEAR})", param, ctx)
        return seconds


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def complete_folders(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Let the shell complete folders for an argument that may be something else."""
    return [CompletionItem(incomplete, type="dir")]


def complete_deployments(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete names of deployments."""
    from tempo_runtime.deploy.local import find as find

    names = sorted({deployment.name for deployment in find.deployments()})
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def complete_targets(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete targets of a call: names of deployments, and folders."""
    named = complete_deployments(ctx, param, incomplete)
    return [*named, *complete_folders(ctx, param, incomplete)]


def stale_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--stale` to a command that takes a pipeline as MODULE:NAME."""
    return click.option(
        "--stale",
        type=click.Choice(["save", "refuse"]),
        default="save",
        show_default=True,
        help="How to handle a MODULE:NAME that has changed since its artifact was saved.",
    )(command)


def folder_or_object(text: str) -> Any:
    """Return an artifact's folder as it is, or import the object that MODULE:NAME names."""
    return text if os.path.isdir(text) else imported(text)


def pair(text: str, option: str) -> tuple[str, str]:
    """Split a `KEY=VALUE` of the command line."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise click.UsageError(
            f"{option} takes KEY=VALUE"
        )  # without the text, which may be a secret
    return key, value


def print_whole(*shown: Any) -> None:
    """Print without wrapping, so that names and addresses can be copied from a narrow window."""
    console(width=1000).print(*shown)


def echo_json(content: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(content, indent=2))


def imported(name: str) -> Any:
    """Import the object that `MODULE:NAME` names; the module is looked up as by `python -m`."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise click.BadParameter(
            f"{name!r} is neither a folder nor MODULE:NAME, such as shop:Shop{meant_path(name)}"
        )
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        imported_module = importlib.import_module(module)
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
            place += '; move the call that ends the program under `if __name__ == "__main__":`'
        raise AuthoringError(f"{name} cannot be imported: {named(error)}{place}") from error
    try:
        return getattr(imported_module, attribute)
    except AttributeError:
        models = [
            model_name
            for model_name, value in vars(imported_module).items()
            if hasattr(value, "get_tempo")
        ]
        has = f"; it has {', '.join(models)}" if models else ", nor any model"
        meant = _meant(attribute, models) or _meant(attribute, list(vars(imported_module))) or has
        raise click.BadParameter(
            f"{name}: module {module!r} has no attribute {attribute!r}{meant}"
        ) from None


def _author_line(error: BaseException) -> str | None:
    from tempo_runtime.execution.blame import author_line

    return author_line(error)


def _meant(name: str, known: list[str]) -> str:
    lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), lower, n=1)
    return f"; did you mean {lower[close[0]]!r}?" if close else ""


def meant_path(path: str) -> str:
    """Suggest the path that was probably meant instead of one that does not exist.

    Args:
        path: The path. If it is the name or file of a module, the text shows how to name an object in it.
    """
    module = path.removesuffix(".py")
    if os.path.isfile(f"{module}.py"):
        name = module.strip("./").replace(os.sep, ".")
        return f"; {module}.py is a module: name an object in it, as in {name}:NAME"
    folder, name = os.path.split(path.rstrip(os.sep))
    try:
        with os.scandir(folder or ".") as there:
            folders = [entry.name for entry in there if entry.is_dir()]
    except OSError:
        return ""
    known = [os.path.join(folder, entry) for entry in folders]
    return _meant(os.path.join(folder, name), known)


def _modules_here() -> list[str]:
    """List the modules and packages in the current folder."""
    with os.scandir() as there:
        names = [entry.name for entry in there if entry.name.endswith(".py") or entry.is_dir()]
    return [name.removesuffix(".py") for name in names]
