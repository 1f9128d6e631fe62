"""Options of the Kubernetes commands, on the command line and in a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from tempo_runtime.cli.options import pair

if TYPE_CHECKING:
    from tempo_runtime.deploy.kubernetes.manifests import RemotePlatform

_PLATFORMS = ("seldon", "seldon2", "kserve")
# Flags of the options that have one, by the option's name for --set.
_FLAGS = {
    "namespace": "--namespace",
    "auth_secret_name": "--secret",
    "authSecretName": "--secret",
    "image": "--image",
}
_FILE = click.Path(exists=True, dir_okay=False)


def where_options(*, short: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options that say where models are deployed.

    Args:
        short: Whether `-f` is short for `--options`; `logs` uses it for `--follow`, as kubectl does.
    """
    options = (
        click.option(
            "--platform",
            type=click.Choice(_PLATFORMS),
            help="Seldon Core v1, Seldon Core 2, or KServe.  [default: seldon]",
        ),
        click.option(
            "-n", "--namespace", metavar="NAME", help="The namespace.  [default: default]"
        ),
        click.option(
            *(("-f", "--options") if short else ("--options",)),
            "file",
            metavar="FILE",
            type=_FILE,
            multiple=True,
            callback=_one_file,
            help="YAML file with `platform` and its options; the command line takes precedence.",
        ),
    )
    return lambda command: _added(command, options)


def all_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where and how models are deployed."""
    options = (
        click.option(
            "--secret",
            metavar="NAME",
            help="Secret with rclone's settings, to download artifacts.",
        ),
        click.option("--image", metavar="IMAGE", help="Image of the servers."),
        click.option(
            "--set",
            "more",
            metavar="KEY=VALUE",
            multiple=True,
            help="Any other option of the platform; VALUE is JSON or text.",
        ),
    )
    return where_options()(_added(command, options))


def platform_options(given: Mapping[str, Any]) -> RemotePlatform:
    """Build the platform's options from a command's parameters.

    Args:
        given: Values of the options that this module adds.

    Raises:
        SettingsError: If they are invalid.
    """
    from tempo_runtime.deploy.kubernetes.manifests import options_file

    flags = {
        "namespace": given["namespace"],
        "auth_secret_name": given.get("secret"),
        "image": given.get("image"),
    }
    flag_values = {name: value for name, value in flags.items() if value is not None}
    more = dict(map(_setting, given.get("more", ())))
    flagged = {_FLAGS[name] for name in flag_values}
    for key in more:
        if _FLAGS.get(key) in flagged:
            raise click.UsageError(f"{_FLAGS[key]} and --set {key} are both given; leave one out")
    file = options_file.read(given["file"]) if given["file"] is not None else None
    return options_file.options_of(
        given["platform"],
        {**flag_values, **more},
        file,
        lambda name: _FLAGS[name] if name in flag_values else f"--set {name}",
    )


def where_words(given: Mapping[str, Any]) -> list[str]:
    """List the arguments that point another command at the same deployment."""
    more = dict(map(_setting, given.get("more", ())))
    namespace = more.get("namespace", given["namespace"])
    flags = {"--platform": given["platform"], "-n": namespace, "--options": given["file"]}
    return [word for flag, value in flags.items() if value is not None for word in (flag, value)]


def _one_file(ctx: click.Context, param: click.Parameter, files: tuple[str, ...]) -> str | None:
    """Refuse a second file: kubectl and helm take several, and click would ignore the first."""
    if len(files) > 1:
        raise click.UsageError(f"{param.opts[-1]} names one file; put all options into it", ctx)
    return files[0] if files else None


def _added(command: Callable[..., Any], options: tuple[Any, ...]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command


def _setting(text: str) -> tuple[str, Any]:
    key, value = pair(text, "--set")
    outer, *inner = key.split(".")
    if inner:
        nested = "".join(f'{{"{part}": ' for part in inner) + "..." + "}" * len(inner)
        message = f"{key}: nested values are JSON, as in --set '{outer}={nested}'"
        raise click.BadParameter(message, param_hint="--set")
    if key == "platform":
        raise click.UsageError("--set platform: use --platform instead")
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        if value[:1] in ("{", "["):
            message = f"{key}: its value is not valid JSON"
            raise click.BadParameter(message, param_hint="--set") from None
        return key, value
