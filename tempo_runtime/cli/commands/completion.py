"""`tempo-runtime completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    r"""Print the script with which SHELL completes this command.

    \b
    Examples:
        eval "$(tempo-runtime completion bash)"                # in ~/.bashrc
        eval "$(tempo-runtime completion zsh)"                 # in ~/.zshrc, after compinit
        tempo-runtime completion fish | source                 # in ~/.config/fish/config.fish
    """
    root = click.get_current_context().find_root()
    name = "tempo-runtime"
    found = get_completion_class(shell)
    assert found is not None
    script = found(root.command, {}, name, "_TEMPO_RUNTIME_COMPLETE")
    click.echo(script.source())
