"""Blocks of code in documents: read, run in one folder as a reader would, and compared with the printed output.

A `console` block holds commands after `$ `, each followed by what it prints; `...` stands for any text, alone on a line
for any lines. A `python` block may be followed by a `text` block with what it prints. A comment before a block says
what is special about it:

    <!-- norun: needs the network -->     it is not run, for that reason
    <!-- exit: 3 -->                      its last command ends with that exit code
    <!-- norun page: trains for hours -->  no block of the page is run
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skinclf_cli.main import run

_BLOCK = re.compile(
    r"^(?P<notes>(?:<!--.*?-->\n+)*)```(?P<language>console|python)\n(?P<body>.*?)^```\n"
    r"(?P<output>\n?```text\n.*?^```\n)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a document.

    Attributes:
        page: Name of the document.
        line: Line of its fence.
        language: `console` or `python`.
        body: Text between the fences.
        output: What a Python block prints; None where the document does not say.
        reason: Why it is not run; empty when it is.
        code: Exit code of its last command.
    """

    page: str
    line: int
    language: str
    body: str
    output: str | None = None
    reason: str = ""
    code: int = 0

    @property
    def commands(self) -> Iterator[tuple[str, str]]:
        """Each command of a `console` block with what it prints, or an empty text."""
        command: str | None = None
        printed: list[str] = []
        for line in self.body.splitlines():
            if command is not None and command.endswith("\\"):
                command = command[:-1] + line.strip().removeprefix("> ")
            elif line.startswith("$ "):
                if command is not None:
                    yield command, "\n".join(printed)
                command, printed = line[2:], []
            else:
                printed.append(line)
        if command is not None:
            yield command, "\n".join(printed)


def blocks(text: str, page: str) -> list[Block]:
    """The `console` and `python` blocks of a document."""
    whole = re.search(r"<!-- norun page: (.*?) -->", text)
    found = []
    for match in _BLOCK.finditer(text):
        reason = re.search(r"<!-- norun: (.*?) -->", match["notes"])
        code = re.search(r"<!-- exit: (\d+) -->", match["notes"])
        output = match["output"]
        found.append(
            Block(
                page,
                text.count("\n", 0, match.start("language")) + 1,
                match["language"],
                match["body"],
                None if output is None else output.strip().removeprefix("```text\n").removesuffix("```"),
                reason[1] if reason else whole[1] if whole else "",
                int(code[1]) if code else 0,
            )
        )
    return found


def matches(expected: str, printed: str) -> bool:
    """Whether printed text is the expected one, in which `...` stands for any text."""
    pattern, wanted = "", [line.rstrip() for line in expected.strip().splitlines()]
    for line in wanted:
        pattern += r"(?:.*\n)*?" if line.strip() == "..." else _line(line) + r"\n"
    text = "\n".join(line.rstrip() for line in printed.strip().splitlines()) + "\n"
    return re.fullmatch(pattern, text) is not None


def _line(line: str) -> str:
    return ".*?".join(re.escape(part) for part in line.split("..."))


@dataclass(slots=True)
class Reader:
    """Somebody who types the blocks of one document into one folder, from top to bottom."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    names: dict[str, Any] = field(default_factory=dict)
    _shim: Path | None = None

    def follow(self, block: Block) -> None:
        """Run a block; its commands end as they should and print what the document says."""
        if block.language == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block.body, f"{block.page}:{block.line}", "exec"), self.names)
            if block.output is not None:
                assert matches(block.output, printed.getvalue()), self._differs(
                    block, block.output, printed.getvalue()
                )
            return
        commands = list(block.commands)
        for at, (command, expected) in enumerate(commands, start=1):
            code, text = self.type(command)
            wanted = block.code if at == len(commands) else 0
            assert code == wanted, f"{block.page}:{block.line}: {command}\nexit code {code}\n{text}"
            if expected.strip():
                assert matches(expected, text), self._differs(block, f"$ {command}\n{expected}", text)

    def _differs(self, block: Block, expected: str, text: str) -> str:
        return f"{block.page}:{block.line} says\n{expected}\n--- printed was\n{text}"

    def type(self, command: str) -> tuple[int, str]:
        """Exit code and text of a command; one of skinclf alone runs in this process."""
        command = command.split(" #", maxsplit=1)[0].strip()
        if command.startswith("skinclf ") and not re.search(r"[|<>;&*$`]", command):
            raw = io.BytesIO()
            # Tables on standard output are written as bytes.
            printed = io.TextIOWrapper(raw, "utf-8", newline="", write_through=True)
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                code = run(shlex.split(command)[1:])
            return code, raw.getvalue().decode()
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=self.folder,
            env={
                **os.environ,
                **self.environment,
                "PATH": f"{self._skinclf()}{os.pathsep}{os.environ['PATH']}",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def _skinclf(self) -> Path:
        """A folder with the command `skinclf` of this Python."""
        if self._shim is None:
            self._shim = self.folder.with_name(f"{self.folder.name}-bin")
            self._shim.mkdir(exist_ok=True)
            for name, words in (("skinclf", "-m skinclf "), ("python", "")):
                script = self._shim / name
                script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words}"$@"\n')
                script.chmod(0o755)
        return self._shim
