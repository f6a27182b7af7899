"""The distribution: what is in the wheel, what is not, and which way imports point."""

from __future__ import annotations

import ast
import configparser
import email
import re
import socket
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import skinclf

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "skinclf": ROOT / "skinclf",
    "skinclf_cli": ROOT / "cli" / "skinclf_cli",
    "skinclf_training": ROOT / "training" / "skinclf_training",
}
MODULES = sorted((name, path) for name, folder in PACKAGES.items() for path in folder.rglob("*.py"))

pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="the tests run without their repository"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the wheel and the source distribution, built without network by the installed backend."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return folder


@pytest.fixture(scope="module")
def wheel(built) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel) -> email.message.Message:
    (name,) = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def test_only_our_three_names_land_in_site_packages(wheel):
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert top == {*PACKAGES, f"skinclf-{skinclf.__version__}.dist-info"}


def test_every_module_and_marker_is_in_the_wheel(wheel):
    names = set(wheel.namelist())
    for package, folder in PACKAGES.items():
        assert f"{package}/py.typed" in names
        for path in folder.rglob("*.py"):
            assert f"{package}/{path.relative_to(folder).as_posix()}" in names


def test_package_data_travels(wheel):
    names = set(wheel.namelist())
    for source, target in [("training/configs", "configs"), ("model_cards", "model_cards")]:
        for path in (ROOT / source).rglob("*"):
            if path.is_file():
                assert f"skinclf_training/{target}/{path.relative_to(ROOT / source).as_posix()}" in names


FORBIDDEN = re.compile(
    r"(^|/)(tests?|benchmarks|examples|docs|data|runs|shared|outputs|\.git|\.venv|__pycache__)/"
    r"|\.(pyc|pth|pt|ckpt|pkl|pickle|joblib|h5|onnx|tar|npy)$|ISIC_\d+",
    re.IGNORECASE,
)


def test_nothing_else_travels(wheel, built):
    kept = [
        n
        for n in wheel.namelist()
        if FORBIDDEN.search(n) and not n.startswith(("skinclf_training/data/", "skinclf_cli/commands/data/"))
    ]
    assert kept == []
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = [n.split("/", 1)[1] for n in archive.getnames() if "/" in n]
    assert not [n for n in names if re.search(r"^(data|runs|outputs|shared|\.venv|\.git)/|ISIC_\d+", n)]
    assert {"pyproject.toml", "LICENSE", "README.md", "skinclf/__init__.py"} <= set(names)


def test_the_wheel_stays_small(built):
    (path,) = built.glob("*.whl")
    assert path.stat().st_size < 20_000_000


def test_both_licences_are_in_the_wheel(wheel):
    info = f"skinclf-{skinclf.__version__}.dist-info/licenses"
    assert b"Apache License" in wheel.read(f"{info}/LICENSE")
    assert b"NonCommercial" in wheel.read(f"{info}/skinclf/models/builtin/LICENSE-WEIGHTS")
    assert "skinclf/models/builtin/LICENSE-WEIGHTS" in wheel.namelist()


def test_the_command_is_installed(wheel):
    (name,) = (n for n in wheel.namelist() if n.endswith("entry_points.txt"))
    entry = configparser.ConfigParser()
    entry.read_string(wheel.read(name).decode())
    assert dict(entry["console_scripts"]) == {"skinclf": "skinclf_cli.main:main"}


def test_metadata(metadata):
    assert metadata["Name"] == "skinclf"
    assert metadata["Version"] == skinclf.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"


def test_requirements_have_lower_bounds_only(metadata):
    requirements = [r.split(";")[0].strip() for r in metadata.get_all("Requires-Dist")]
    ours = [r for r in requirements if not r.startswith("skinclf[")]
    assert not [r for r in ours if "<" in r or "==" in r or "~=" in r]
    base = {re.split(r"[\[<>=!~ ]", r)[0] for r in ours if "extra" not in r}
    assert {"numpy", "pillow", "click", "torch", "timm", "safetensors"} <= base


def test_all_covers_every_extra_but_dev(metadata):
    wanted: dict[str, set[str]] = {}
    for line in metadata.get_all("Requires-Dist"):
        if found := re.search(r"extra == '([^']+)'", line):
            wanted.setdefault(found.group(1), set()).add(line.split(";")[0].strip())
    extras = set(metadata.get_all("Provides-Extra")) - {"all", "dev"}
    assert {"int8", "onnx", "tensorflow", "train", "dicom"} <= extras
    for extra in extras:
        assert wanted[extra] <= wanted["all"], extra


# --- the tests themselves ---------------------------------------------------------------------


def test_the_tests_have_no_network():
    with pytest.raises(ConnectionRefusedError, match="tests have no network"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)  # TEST-NET-1, never routed
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


# --- the house --------------------------------------------------------------------------------


def imported(path: Path) -> set[str]:
    """Top-level names that a module imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def test_imports_point_one_way():
    may_not = {
        "skinclf": {"skinclf_cli", "skinclf_training"},
        "skinclf_training": {"skinclf_cli"},
        "skinclf_cli": set(),
    }
    wrong = [
        str(path)
        for package, path in MODULES
        if imported(path) & may_not[package] and path.name != "__main__.py"  # `python -m skinclf` is the CLI
    ]
    assert wrong == []


def test_nothing_unpickles():
    """No pickle library, and torch.load only with weights_only=True."""
    wrong = []
    for _, path in MODULES:
        if imported(path) & {"joblib", "dill", "cloudpickle", "marshal", "shelve"}:
            wrong.append(str(path))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            call = ast.unparse(node.func)
            safe = any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
            if call in {"pickle.load", "pickle.loads", "pickle.Unpickler"} or (
                call == "torch.load" and not safe
            ):
                wrong.append(f"{path}:{node.lineno}")
    assert wrong == []


def test_the_library_does_not_print():
    calls = []
    for package, path in MODULES:
        if package == "skinclf_cli":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls += [
            f"{path}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        ]
    assert calls == []


def test_importing_the_sdk_is_cheap():
    code = (
        "import sys, skinclf; print(sorted({'torch', 'numpy', 'PIL', 'timm', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_resolve():
    for name in skinclf.__all__:
        assert getattr(skinclf, name) is not None
    assert set(skinclf.__all__) <= set(dir(skinclf))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = skinclf.nothing


# --- beside the code --------------------------------------------------------------------------


def test_the_citation_file_is_complete():
    yaml = pytest.importorskip("yaml")
    data = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert data["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "license", "version"} <= set(data)
    assert data["version"] == skinclf.__version__
    assert any(r.get("doi") == "10.1038/sdata.2018.161" for r in data["references"])


def test_the_changelog_knows_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(
        rf"^## \[{re.escape(skinclf.__version__)}\] - (Unreleased|\d{{4}}-\d\d-\d\d)$", text, re.MULTILINE
    )


def test_every_documented_make_target_exists():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.search(r"^\.PHONY:(.*)$", text, re.MULTILINE).group(1).split())
    assert {"predict", "test", "test-all", "lint", "bench", "clean", "help"} <= phony
    for target in phony:
        assert re.search(rf"^{target}:", text, re.MULTILINE), target
