"""Options that several commands share, each made in one place."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

_Command = TypeVar("_Command", bound="Callable[..., Any]")


def json_option(command: _Command) -> _Command:
    """`--json`, as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Report as JSON.")(command)


def about_option(command: _Command) -> _Command:
    """`--about`: the sentences of a model card."""
    return click.option(
        "--about",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="YAML with intended use, limitations and data for the card; by default what skinclf knows of "
        "the training data.",
    )(command)


def hub_options(command: _Command) -> _Command:
    """The options of every command that may ask the Hub, as the parameter `hub`; the token follows the Hub's rules."""

    @wraps(command)
    def with_hub(
        *args: Any, revision: str | None, offline: bool, cache_dir: Path | None, **options: Any
    ) -> Any:
        from skinclf.models.options import HubOptions

        hub = HubOptions(revision=revision, offline=offline, cache_dir=cache_dir)
        return command(*args, hub=hub, **options)

    packed = cast("_Command", with_hub)
    for option in (
        click.option("--cache-dir", type=click.Path(path_type=Path), help="Where downloads are kept."),
        click.option("--offline", is_flag=True, help="Use the cache alone."),
        click.option("--revision", help="Branch, tag or commit on the Hub."),
    ):
        packed = option(packed)
    return packed
