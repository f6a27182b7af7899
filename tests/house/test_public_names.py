"""The public names of the SDK and of its rooms: sorted, lazy, and the same for readers, type checkers and Python."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import skinclf

SDK = Path(skinclf.__file__).parent
ROOMS = sorted(path.parent.name for path in SDK.glob("[a-z]*/__init__.py"))
PACKAGES = ["skinclf", *(f"skinclf.{room}" for room in ROOMS)]


def checked_imports(package: str) -> dict[str, str]:
    """Name to module of the imports under `TYPE_CHECKING` in a package's `__init__.py`."""
    path = SDK.parent.joinpath(*package.split("."), "__init__.py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (block,) = (n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name: node.module or "" for node in imports for alias in node.names}


def test_every_room_is_a_lazy_attribute():
    modules = {path.stem for path in SDK.glob("[a-z]*.py")} - {"errors"}
    assert {name for name, module in checked_imports("skinclf").items() if module == "skinclf"} == {
        *ROOMS,
        *modules,
    }
    assert {*ROOMS, *modules} <= set(dir(skinclf))


def test_the_public_face_is_small():
    assert 10 <= len(skinclf.__all__) <= 16


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_a_few_public_names(room):
    assert 1 <= len(importlib.import_module(f"skinclf.{room}").__all__) <= 12


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_sorted_and_resolve(package):
    module = importlib.import_module(package)
    assert module.__all__ == sorted(module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_see_what_python_resolves(package):
    module = importlib.import_module(package)
    imports = {name: at for name, at in checked_imports(package).items() if at != "skinclf"}
    assert set(imports) | {"__version__"} == set(module.__all__) | {"__version__"}
    for name, at in imports.items():
        assert getattr(module, name) is getattr(importlib.import_module(at), name)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_is_that_of_a_module(package):
    # Importing the module would replace the name.
    folder = SDK.parent.joinpath(*package.split("."))
    modules = {path.stem for path in folder.glob("*.py")} | {
        p.parent.name for p in folder.glob("*/__init__.py")
    }
    assert modules.isdisjoint(importlib.import_module(package).__all__)


@pytest.mark.parametrize("package", [*PACKAGES, "skinclf.errors"])
def test_importing_a_package_is_cheap(package):
    heavy = "{'torch', 'numpy', 'PIL', 'timm', 'sklearn', 'scipy', 'matplotlib'}"
    code = f"import sys, {package}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_imported_on_first_use():
    code = (
        "import sys, skinclf\n"
        "assert skinclf.metrics.__name__ == 'skinclf.metrics'\n"
        "assert 'skinclf.models.registry' not in sys.modules\n"
        "assert skinclf.list_models() and 'skinclf.models.registry' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
