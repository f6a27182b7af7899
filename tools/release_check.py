"""Check what would be released: `make release-check`, or `python tools/release_check.py [--only wheel] [--dist DIR]`.

Builds wheel and source distribution without network, checks their metadata and size, installs each into a fresh
environment beside the packages of this one, and runs the three promised lines there.
"""

from __future__ import annotations

import argparse
import email
import os
import re
import shutil
import site
import subprocess
import sys
import tempfile
import venv
import zipfile
from email.message import Message
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIZES = {".whl": 20_000_000, ".gz": 60_000_000}
LINES = (
    "skinclf predict --image-dir imgs/ --output preds.csv",
    "skinclf tune-threshold --target-sensitivity 0.9",
    "python -c \"from skinclf import Predictor; print(Predictor().predict('imgs/synthetic-01.jpg'))\"",
)


def main() -> None:
    """Run every check; the first that fails ends the program with a sentence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["wheel", "sdist"], help="check one of both")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="folder for both files")
    options = parser.parse_args()
    kinds = [options.only] if options.only else ["wheel", "sdist"]
    for path in build(options.dist, kinds):
        size = path.stat().st_size
        need(
            size < SIZES[path.suffix],
            f"{path.name}: {size:,} bytes; at most {SIZES[path.suffix]:,} are meant.",
        )
        print(f"{path.name}: {size / 1e6:.1f} MB")
        if path.suffix == ".whl":
            check_metadata(metadata(path))
            print(f"{path.name}: metadata as they should be")
        with tempfile.TemporaryDirectory() as folder:
            try_lines(path, Path(folder))
        print(f"{path.name}: the three promised lines work")


def need(condition: bool, sentence: str) -> None:  # noqa: FBT001
    """End the program with a sentence unless a condition holds."""
    if not condition:
        sys.exit(sentence)


def build(folder: Path, kinds: list[str]) -> list[Path]:
    """Build the files in a folder that holds nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    flags = [f"--{kind}" for kind in kinds]
    call(sys.executable, "-m", "build", "--no-isolation", *flags, "--outdir", str(folder), str(ROOT))
    return sorted(folder.glob("skinclf-*"))


def metadata(wheel: Path) -> Message:
    """`METADATA` of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def check_metadata(found: Message) -> None:
    """Check that metadata are complete and agree with the other places that state a version."""
    here = re.search(r'__version__ = "(.+)"', (ROOT / "skinclf" / "_version.py").read_text(encoding="utf-8"))
    need(here is not None, "skinclf/_version.py states no version.")
    stated = here[1] if here else ""
    need(found["Name"] == "skinclf", f"The name is {found['Name']}.")
    need(found["Version"] == stated, f"The wheel says {found['Version']}, skinclf/_version.py {stated}.")
    for key in ("Summary", "License-Expression", "Requires-Python", "Author", "Description-Content-Type"):
        need(bool(found[key]), f"The metadata lack {key}.")
    need(len(str(found.get_payload())) > 1000, "The long description is missing.")
    urls = found.get_all("Project-URL") or []
    need(bool(urls), "The metadata name no project URL.")
    for line in found.get_all("Requires-Dist") or []:
        need(" @ " not in line, f"A published package cannot require an address: {line}.")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    need(f"## [{stated}]" in changelog, f"CHANGELOG.md has no section {stated}.")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    need(
        bool(re.search(rf"^version: \"?{re.escape(stated)}\"?$", citation, re.MULTILINE)),
        "CITATION.cff differs.",
    )


def try_lines(distribution: Path, folder: Path) -> None:
    """Install a distribution into a fresh environment and run the promised lines in an empty folder."""
    environment, work = folder / "venv", folder / "work"
    venv.create(environment, with_pip=False)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    # The dependencies of this environment, behind the packages of the new one; its .pth files are not read.
    (own,) = environment.glob("**/site-packages")
    (own / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n", encoding="utf-8")
    call(
        *(
            sys.executable,
            "-m",
            "pip",
            f"--python={python}",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ),
        *("--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", str(distribution)),
    )
    work.mkdir()
    shutil.copytree(ROOT / "examples" / "images", work / "imgs")
    variables = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    variables["PATH"] = f"{python.parent}{os.pathsep}{variables['PATH']}"
    where = call(str(python), "-c", "import skinclf; print(skinclf.__file__)", cwd=work, env=variables)
    need(Path(where.strip()).is_relative_to(own), f"skinclf was imported from {where.strip()}.")
    for line in LINES:
        print(f"$ {line}")
        call(line, cwd=work, env=variables, shell=True)
    rows = (work / "preds.csv").read_text(encoding="utf-8").splitlines()
    need(len(rows) == 13, f"12 images gave {len(rows) - 1} rows.")
    need((work / "threshold.json").is_file(), "threshold.json was not written.")


def call(*command: str, shell: bool = False, **options: object) -> str:
    """Output of a command; one that fails ends the program with what it printed."""
    done = subprocess.run(
        command[0] if shell else command,
        shell=shell,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        **options,  # type: ignore[call-overload]
    )
    need(done.returncode == 0, f"{' '.join(command)}\n{done.stdout}")
    return str(done.stdout)


if __name__ == "__main__":
    print(f"pip {version('pip')}, Python {sys.version.split()[0]}")
    main()
