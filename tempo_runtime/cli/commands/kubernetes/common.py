"""Arguments, options and messages that the commands for a cluster share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from tempo_runtime.cli.options import Seconds
from tempo_runtime.cli.platform_options import platform_options

if TYPE_CHECKING:
    from tempo_runtime.deploy.kubernetes.manifests import RemotePlatform

EXIT_NO = 3
"""Exit code if the answer is no: not all models are ready, or something would change."""

_COMPLETING = 2.0  # seconds that the cluster may take to list names for a shell
_WORDS = {"waiting": "is not ready", "failed": "has failed", "gone": "was deleted"}


def complete_models(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete names of deployed models, if the cluster lists them in time."""
    names: list[str] = []
    with contextlib.suppress(Exception):
        from tempo_runtime.kubernetes import list_models

        options = platform_options(ctx.params)
        names = [model.name for model in list_models(options, timeout=_COMPLETING)]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


name_argument = click.argument("name", shell_complete=complete_models)


def timeout_option(description: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add `--timeout` to a command."""
    return click.option(
        "--timeout",
        type=Seconds(),
        default=600,
        show_default=True,
        metavar="SECONDS",
        help=description,
    )


def address_of(name: str, options: RemotePlatform) -> tuple[str, dict[str, str]]:
    """Return the address of a model inside the cluster, or through a named ingress.

    Args:
        name: The model.
        options: Options that it was deployed with.

    Returns:
        Its URL, and the headers by which a gateway routes to it.
    """
    from tempo_runtime.deploy.kubernetes.platforms import endpoint

    where = endpoint(name, options)
    # Seldon Core's ingress routes HTTP by the URL's path; the headers are for gRPC.
    by_path = getattr(options.remote_options, "ingress", None) is not None
    return f"{where.url}{where.path}", {} if by_path else dict(where.headers)


def nothing_deployed(options: RemotePlatform) -> str:
    """Say that nothing is deployed in the namespace of the options."""
    from tempo_runtime.deploy.kubernetes.platforms import platform_of

    space, platform = options.remote_options.namespace, platform_of(options).target
    return f"Nothing is deployed in {space} (platform {platform})"


def sentence(name: str, state: str, reason: str) -> str:
    """Say why a model is not ready, as the errors do."""
    text = f"{name} {_WORDS[state]}"
    return f"{text}: {reason}" if reason else text
