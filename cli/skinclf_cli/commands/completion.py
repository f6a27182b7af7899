"""`skinclf completion`: the script by which a shell completes commands and options."""

from __future__ import annotations

import click

from skinclf_cli import console


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(*, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash: echo 'eval "$(skinclf completion bash)"' >> ~/.bashrc
    zsh:  echo 'eval "$(skinclf completion zsh)"' >> ~/.zshrc
    fish: skinclf completion fish > ~/.config/fish/completions/skinclf.fish
    """  # noqa: D301 - click's paragraph mark
    from click.shell_completion import get_completion_class

    from skinclf_cli.main import cli

    script = get_completion_class(shell)
    if script is None:
        raise click.ClickException(f"The installed click has no completion for {shell}; update it.")
    console.out(script(cli, {}, "skinclf", "_SKINCLF_COMPLETE").source())
