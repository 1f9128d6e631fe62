"""`tempo-runtime completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    r"""Print the completion script of a shell.

    \b
    Examples:
        eval "$(tempo-runtime completion bash)"                # in ~/.bashrc
        eval "$(tempo-runtime completion zsh)"                 # in ~/.zshrc, after compinit
        tempo-runtime completion fish | source                 # in ~/.config/fish/config.fish
    """
    root = click.get_current_context().find_root()
    name = "tempo-runtime"
    completer = get_completion_class(shell)
    assert completer is not None
    script = completer(root.command, {}, name, "_TEMPO_RUNTIME_COMPLETE")
    click.echo(script.source())
