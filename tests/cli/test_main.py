"""The command line as a whole: quick help, streams, errors and exit codes."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from importlib.metadata import version

import click
import pytest

from skinclf import errors
from skinclf._version import __version__
from skinclf_cli import main as module
from skinclf_cli.main import COMMANDS, run

HEAVY = ["torch", "numpy", "timm", "PIL", "pandas", "scipy", "sklearn", "huggingface_hub", "rich.console"]


def python(code, **env):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **env}
    )


@pytest.mark.parametrize(
    "args",
    [
        ["--version"],
        ["--help"],
        ["-h"],
        ["predict", "--help"],
        ["merge", "-h"],
        ["tune-threshold", "-h"],
        ["models", "convert", "-h"],
        ["data", "prepare", "-h"],
    ],
)
def test_help_and_version_import_nothing_heavy(args):
    code = (
        f"import sys; from skinclf_cli.main import run; code = run({args!r}); "
        f"print([m for m in {HEAVY!r} if m in sys.modules], code)"
    )
    done = python(code)
    assert done.stdout.endswith("[] 0\n"), done.stdout + done.stderr


def test_version_says_what_runs(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"skinclf {__version__} (Python 3.")


def test_version_is_quick():
    """Processor time, as the machine may be busy: 0.15 s is promised, most of it Python and click."""
    lines = [
        "import time",
        "start = time.process_time()",
        "from skinclf_cli.main import run",
        "run(['--version'])",
        "print(time.process_time() - start)",
    ]
    code = "; ".join(lines)
    best = min(float(python(code).stdout.splitlines()[-1]) for _ in range(3))
    assert best < 0.15


def test_help_names_every_command_and_no_arguments_show_it(capsys):
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)
    assert "not a medical device" in text
    # What click 8.1 shows as help, later versions call an error of usage.
    assert run([]) == (0 if version("click").startswith("8.1.") else 2)
    assert run(["no-such-command"]) == 2


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (errors.InvalidArgumentError("x"), 2),
        (errors.ModelError("x"), 1),
        (errors.ImageError("empty", "x"), 1),
        (errors.MismatchError("x"), 1),
        (errors.OutputError("x"), 1),
        (errors.DeviceError("x"), 1),
        (errors.MissingExtraError("parquet", "x"), 1),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (click.UsageError("x"), 2),
        (BrokenPipeError(), 0),
    ],
)
def test_errors_are_one_line_and_an_exit_code(monkeypatch, capsys, raised, code):
    @click.command()
    def fail():
        raise raised

    monkeypatch.setattr(module.console, "discard_stdout", lambda: None)
    monkeypatch.setattr(module.LazyGroup, "get_command", lambda *_: fail)
    assert run(["fail"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err


def test_debugging_shows_the_traceback(monkeypatch):
    @click.command()
    def fail():
        raise errors.ModelError("x")

    monkeypatch.setattr(module.LazyGroup, "get_command", lambda *_: fail)
    monkeypatch.setenv("SKINCLF_DEBUG", "1")
    with pytest.raises(errors.ModelError):
        run(["fail"])


@pytest.mark.parametrize("args", [["-q", "say"], ["say", "-q"], ["say", "--quiet"]])
def test_quiet_on_either_side(monkeypatch, capsys, args):
    @click.command()
    def say():
        module.console.message("hello")
        module.console.out("data")

    monkeypatch.setattr(module.LazyGroup, "get_command", lambda *_: module.prepare(say))
    assert run(args) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("data\n", "")
    assert run(["say"]) == 0
    assert capsys.readouterr().err == "hello\n"


def test_log_lines_and_messages_of_the_library_name_options(monkeypatch, capsys):
    @click.command()
    @click.option("--precision")
    def say(precision):
        logging.getLogger("skinclf").warning('No bf16 here; use `precision="fp32"`.')
        module.console.message("Measured with `precision`.")

    monkeypatch.setattr(module.LazyGroup, "get_command", lambda *_: module.prepare(say))
    assert run(["say"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "No bf16 here; use --precision fp32.",
        "Measured with --precision.",
    ]


def test_options_come_from_the_environment_too(monkeypatch, capsys):
    monkeypatch.setenv("SKINCLF_PREDICT_BATCH_SIZE", "0")
    assert run(["predict", "x.jpg"]) == 2
    assert "--batch-size" in capsys.readouterr().err


def test_python_m_skinclf():
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "skinclf", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("skinclf ")
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(("package", "code"), [("lightning", 1), ("json.nothing", None)])
def test_training_without_its_extra_says_what_to_install(package, code):
    """Any other missing module is a defect, and is shown as one."""
    lines = (
        "import sys",
        "from skinclf_cli.main import cli, run",
        f"cli.main = lambda **_: __import__({package!r})",
        "sys.modules['lightning'] = None",
        "sys.exit(run(['try']))",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    if code is None:
        assert "Traceback" in done.stderr
    else:
        assert done.returncode == code
        assert done.stderr.strip() == (
            "Error: This command needs an optional dependency. Install it with: pip install 'skinclf[train]'"
        )
