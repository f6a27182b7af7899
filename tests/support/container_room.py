"""A container without an engine: the steps of a Dockerfile in a root of their own, on Linux and as root.

Namespaces of mounts and network, a root directory that holds what the steps made, and another user, all by the kernel's
own means. In place of the base image stand this machine's `/usr` and Python, read-only; in place of the packages that pip
would fetch, those of the running environment, behind `PYTHONPATH`. Run as a program: `container_room.py PLAN.json`.
"""

from __future__ import annotations

import json
import os
import shutil
import site
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

#: Where the base image has its Python.
_BASE = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PYTHON = "/python"
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1


def works() -> bool:
    """Whether this machine and user can make such a root."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    command = [
        "unshare",
        "--mount",
        "--net",
        "--propagation",
        "private",
        "mount",
        "-t",
        "tmpfs",
        "none",
        "/mnt",
    ]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def context(source: Path, target: Path) -> list[str]:
    """Copy what `.dockerignore` leaves of a folder, as `docker build` sends it; paths of the files."""
    patterns = [
        line.strip()
        for line in (source / ".dockerignore").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    ]
    kept = []
    for folder, names, files in os.walk(source):
        here = Path(folder).relative_to(source)
        names[:] = [n for n in names if n != ".git" and (sent(str(here / n), patterns) or here != Path())]
        for name in files:
            path = (here / name).as_posix()
            if sent(path, patterns):
                kept.append(path)
                (target / here).mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / path, target / path)
    return sorted(kept)


def sent(path: str, patterns: Sequence[str]) -> bool:
    """Whether a path belongs to the context: the last pattern that fits it or a folder above it decides."""
    parts = path.split("/")
    above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    answer = True
    for pattern in patterns:
        bare = pattern.removeprefix("!")
        fits = (
            any(fnmatchcase(part, bare[3:]) for part in parts)
            if bare.startswith("**/")
            else any(fnmatchcase(x, bare) for x in above)
        )
        if fits:
            answer = pattern.startswith("!")
    return answer


class Room:
    """A root directory, and the processes in it.

    Args:
        root: Directory that is `/` for the processes.
        read_only: Whether only `/tmp` and `/dev/shm` can be written, as `docker run --read-only --tmpfs /tmp` says.
    """

    def __init__(self, root: Path, *, read_only: bool) -> None:
        self.root = root
        self.environment = {"PATH": f"{_PYTHON}:{_BASE}"}
        self.user = 0
        self.folder = "/"
        for name in ("tmp", "proc", "dev", "etc/skel", "home", "run", _PYTHON[1:]):
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "tmp").chmod(0o1777)
        _mount("--bind", str(root), str(root))
        for place in ("/usr", "/bin", "/sbin", "/lib", "/lib64", *self._packages()):
            self._bring(Path(place))
        for name in ("ld.so.cache", "login.defs", "default/useradd"):
            if (Path("/etc") / name).is_file() and not (root / "etc" / name).exists():
                (root / "etc" / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path("/etc") / name, root / "etc" / name)
        for name, line in (
            ("passwd", "root:x:0:0::/root:/bin/sh"),
            ("group", "root:x:0:"),
            ("shadow", "root:*:::::::"),
        ):
            if not (root / "etc" / name).exists():
                (root / "etc" / name).write_text(f"{line}\n")
        python = root / _PYTHON[1:] / "python"
        if not python.is_symlink():
            python.symlink_to(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info[1]}")
        _mount("--rbind", "/proc", str(root / "proc"))
        for name in ("null", "zero", "urandom"):
            (root / "dev" / name).touch()
            _mount("--bind", f"/dev/{name}", str(root / "dev" / name))
        (root / "dev" / "shm").mkdir(exist_ok=True)
        _mount("-t", "tmpfs", "-o", "size=64m", "none", str(root / "dev" / "shm"))
        _mount("-t", "tmpfs", "none", str(root / "tmp"))
        if read_only:
            _mount("-o", "remount,bind,ro", str(root))
        _loopback()

    @staticmethod
    def _packages() -> list[str]:
        return [sys.base_prefix, *site.getsitepackages()]

    def _bring(self, place: Path) -> None:
        target = self.root / place.relative_to("/")
        if place.is_symlink():
            if not target.is_symlink():
                target.symlink_to(os.readlink(place))
        elif place.is_dir() and not (place.parts[1] == "usr" and len(place.parts) > 2):
            target.mkdir(parents=True, exist_ok=True)
            _mount("--bind", str(place), str(target))
            _mount("-o", "remount,bind,ro", str(target))

    def start(self, command: Sequence[str], **more: Any) -> subprocess.Popen[str]:
        """Start a command as the room's user, with its environment."""

        def enter() -> None:
            os.chroot(self.root)
            os.chdir(self.folder)
            os.setgroups([])
            os.setgid(self.user)
            os.setuid(self.user)

        return subprocess.Popen(
            list(command),
            env={**self.environment, "PYTHONPATH": os.pathsep.join(site.getsitepackages())},
            preexec_fn=enter,  # noqa: PLW1509 - this program has one thread
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **more,
        )

    def run(self, command: Sequence[str]) -> str:
        """Output of a command that must succeed."""
        process = self.start(command)
        output = process.communicate()[0]
        if process.returncode:
            raise SystemExit(f"{list(command)} ended with {process.returncode}:\n{output}")
        return output

    def follow(
        self, steps: Sequence[Sequence[str]], sent_files: Path, stages: Mapping[str, Path], pip_args: str
    ) -> None:
        """Do the instructions of a stage that change it; the others are left to the caller."""
        for name, words in steps:
            if name == "ARG":
                key, _, value = words.partition("=")
                self.environment[key] = pip_args if key == "PIP_ARGS" else value.strip('"')
            elif name == "ENV":
                for key, value in _pairs(words).items():
                    self.environment[key] = value.replace("$PATH", self.environment["PATH"])
            elif name == "WORKDIR":
                (self.root / words[1:]).mkdir(parents=True, exist_ok=True)
                self.folder = words
            elif name == "USER":
                self.user = int(words)
            elif name == "COPY":
                self._copy(words, sent_files, stages)
            elif name == "RUN":
                self.run(["sh", "-c", words])

    def _copy(self, words: str, sent_files: Path, stages: Mapping[str, Path]) -> None:
        *names, target = words.split()
        source = sent_files
        if names[0].startswith("--from="):
            source = stages[names.pop(0).removeprefix("--from=")]
        for name in names:
            found = source / name.lstrip("/")
            place = self.root / os.path.join(self.folder, target).lstrip("/")
            if found.is_dir():
                shutil.copytree(found, place, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copy2(found, place / found.name if target.endswith("/") else place)


def _pairs(words: str) -> dict[str, str]:
    import shlex

    return dict(word.split("=", 1) for word in shlex.split(words))


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def _loopback() -> None:
    """Switch on the only interface of the namespace."""
    import fcntl  # not on Windows, where the rest of this module is imported too

    with socket.socket() as plain:
        fcntl.ioctl(plain, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _IFF_UP))


def main(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Follow a plan: the steps of a stage, or a command with its health check and requests."""
    room = Room(Path(plan["root"]), read_only=plan["read_only"])
    stages = {name: Path(path) for name, path in plan.get("stages", {}).items()}
    steps = (
        plan["steps"]
        if not plan["read_only"]
        else [x for x in plan["steps"] if x[0] in {"ENV", "USER", "WORKDIR"}]
    )
    room.follow(steps, Path(plan["context"]), stages, plan["pip_args"])
    if "command" not in plan:
        return {}
    log = room.start(plan["command"])
    found: dict[str, Any] = {}
    try:
        until = time.monotonic() + plan["wait"]
        while (check := room.start(plan["health"])).wait() and time.monotonic() < until:
            if log.poll() is not None:
                raise SystemExit(f"the server has ended:\n{log.communicate()[0]}")
            time.sleep(1)
        found["health"] = check.returncode
        for name, command in plan["then"].items():
            process = room.start(command)
            found[name] = process.communicate()[0]
            found[f"{name} code"] = process.returncode
    finally:
        log.terminate()
        found["log"] = log.communicate(timeout=60)[0]
        found["code"] = log.returncode
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))) + "\n")
