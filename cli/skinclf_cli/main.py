"""The `skinclf` command: a lazy table of commands, and one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

import click

from skinclf._version import __version__
from skinclf.errors import MissingExtraError, SkinclfError
from skinclf_cli import console
from skinclf_cli.errors import DONE, INTERRUPTED, LibraryError
from skinclf_cli.help import SuggestingGroup, format_sections

#: Command name to `module:attribute` and the line that `--help` shows, so that help imports no command.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "predict": ("skinclf_cli.commands.predict:predict", "Classify images and write one row for each."),
    "explain": ("skinclf_cli.commands.explain:explain", "Draw maps of where a model is sensitive."),
    "serve": ("skinclf_cli.commands.serve:serve", "Serve a model: an HTTP API and a page for images."),
    "gate": ("skinclf_cli.commands.gate:gate", "Fit the image gate of a model, or check images with it."),
    "merge": ("skinclf_cli.commands.merge:merge", "Join the tables of a run in shards."),
    "tune-threshold": (
        "skinclf_cli.commands.tune_threshold:tune_threshold",
        "Choose a decision threshold on labelled predictions.",
    ),
    "conformal": (
        "skinclf_cli.commands.conformal:conformal",
        "Fit conformal label sets with a stated coverage.",
    ),
    "aggregate": (
        "skinclf_cli.commands.aggregate:aggregate",
        "Combine the images of each lesion or patient.",
    ),
    "calibrate": ("skinclf_cli.commands.calibrate:calibrate", "Fit a calibration on held-out predictions."),
    "metadata": (
        "skinclf_cli.commands.metadata:metadata",
        "Fit and measure what age, sex and site add.",
    ),
    "evaluate": (
        "skinclf_cli.commands.evaluate:evaluate",
        "Compute metrics and a report from predictions.",
    ),
    "robustness": (
        "skinclf_cli.commands.robustness:robustness",
        "Measure what another camera would do.",
    ),
    "ensemble": ("skinclf_cli.commands.ensemble:ensemble", "Choose weights for an ensemble of models."),
    "models": (
        "skinclf_cli.commands.models:models",
        "List, show, verify, convert, combine and quantise models.",
    ),
    "download": ("skinclf_cli.commands.download:download", "Download a model into a folder for offline use."),
    "data": ("skinclf_cli.commands.data:data", "Download, check, prepare and explore training data."),
    "train": ("skinclf_cli.commands.train:train", "Train a model and export it as a bundle."),
    "search": ("skinclf_cli.commands.search:search", "Search for a good training configuration."),
    "export": ("skinclf_cli.commands.export:export", "Export a training run or a model."),
    "card": ("skinclf_cli.commands.card:card", "Write the model card of a bundle."),
    "push": ("skinclf_cli.commands.push:push", "Publish a model with its card on the Hub."),
    "doctor": ("skinclf_cli.commands.doctor:doctor", "Check this installation."),
    "completion": ("skinclf_cli.commands.completion:completion", "Print the completion script of a shell."),
}
_CONTEXT = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "SKINCLF", "max_content_width": 80}
#: Key of `click.Context.meta` that holds the command which ran, for messages that name its options.
_RAN = "skinclf_cli.command"
#: Prints the traceback of the library's errors instead of one line.
_DEBUG = "SKINCLF_DEBUG"


class CommandContext(click.Context):
    """A context that records its command for the error messages; `meta` is shared with the contexts around it."""

    def __init__(self, command: click.Command, *args: Any, **options: Any) -> None:
        super().__init__(command, *args, **options)
        self.meta[_RAN] = command


class LazyGroup(SuggestingGroup):
    """A group whose commands are imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return prepare(command)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, and give errors of the library the names of its options."""
        try:
            return super().invoke(ctx)
        except SkinclfError as error:
            if os.environ.get(_DEBUG):
                raise
            raise LibraryError(error, ctx.meta.get(_RAN)) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Help lines from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def prepare(command: click.Command) -> click.Command:
    """Accept `-q` and `-v` after a command's name too, and record which command ran; groups pass it on."""
    command.context_class = CommandContext
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            prepare(inner)
        return command
    command.format_options = partial(format_sections, command)  # type: ignore[method-assign]
    taken = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    for option in (_QUIET, _VERBOSE):
        if taken.isdisjoint(option.opts):
            command.params.append(option)
    return command


def _set_quiet(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001
    if value:
        _set_level(ctx, -1)


def _set_verbose(ctx: click.Context, _param: click.Parameter, value: int) -> None:
    if value:
        _set_level(ctx, value)


def _set_level(ctx: click.Context, level: int) -> None:
    ctx.find_root().obj = level
    console.setup_logging(level)


_QUIET = click.Option(
    ["-q", "--quiet"], is_flag=True, expose_value=False, callback=_set_quiet, help="Print errors only."
)
_VERBOSE = click.Option(
    ["-v", "--verbose"],
    count=True,
    expose_value=False,
    callback=_set_verbose,
    help="Print more messages; twice for debugging.",
)


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001
    if value and not ctx.resilient_parsing:
        click.echo(f"skinclf {__version__} (Python {platform.python_version()}, {platform.system()})")
        ctx.exit()


@click.command(cls=LazyGroup, context_settings=_CONTEXT)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option("-v", "--verbose", count=True, help="Print more messages; twice for debugging.")
@click.pass_context
def cli(ctx: click.Context, quiet: bool, verbose: int) -> None:  # noqa: FBT001
    """Classify dermoscopic skin-lesion images from published weights.

    For research and education; not a medical device and never a diagnosis.

    Exit codes: 0 done, 1 failed, 2 usage, 3 done but some inputs failed, 130 interrupted.
    """
    ctx.obj = -1 if quiet else verbose
    console.setup_logging(ctx.obj)


#: Packages that only the extra `train` installs, by import name.
_TRAINING_PACKAGES = frozenset(
    {"cv2", "filelock", "lightning", "optuna", "pandas", "pooch", "torchvision", "yaml"}
)


def main(args: list[str] | None = None) -> None:
    """Entry point: run a command and turn what it raises into a message and an exit code."""
    sys.exit(run(args))


def run(args: list[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    try:
        code: Any = cli.main(args=args, prog_name="skinclf", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        # Click replaces an interruption by its own class; a run's says where it goes on.
        cause = error.__cause__ if isinstance(error.__cause__, KeyboardInterrupt) else error
        click.echo(str(cause) or "Interrupted.", err=True)
        return INTERRUPTED
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _TRAINING_PACKAGES:
            raise
        missing = LibraryError(MissingExtraError("train", "This command"))
        missing.show()
        return missing.exit_code
    except BrokenPipeError:
        # The reader has closed the pipe, as `head` does after its last line.
        console.discard_stdout()
        return DONE
    return code if isinstance(code, int) else DONE
