"""The house is what its plan says: one-way imports, no circles, no reach-ins, few parameters, one name a door."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "diffnotes"
FILES = sorted(path for path in PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
MOST_PARAMETERS = 6


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_the_contracts_of_the_imports_hold():
    found = subprocess.run([Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, text=True,
                           capture_output=True, check=False)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-1000:]
    assert "broken" in found.stdout and "Contracts: 4 kept, 0 broken." in found.stdout


@pytest.mark.parametrize("line, broken", [
    ("from ..model.net import MLP", "Rooms import only from those below them"),
    ("def f():\n    from ..press.page import glue", "The mathematics knows nothing of the press"),
    ("from . import target as _\n", None),
])
def test_a_broken_plan_is_seen(line, broken, tmp_path):
    """The contracts of pyproject.toml on a copy of the package with one import more."""
    import shutil

    shutil.copytree(PACKAGE, tmp_path / "diffnotes", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "diffnotes" / "core" / "law.py").open("a") as file:
        file.write(f"\n{line}\n")
    found = subprocess.run([Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=tmp_path, text=True,
                           capture_output=True, check=False, env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin"})
    assert (found.returncode == 0) == (broken is None), found.stdout[-3000:]
    assert broken is None or f"{broken} BROKEN" in found.stdout


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_module_reaches_into_another(path):
    """No import of another module's private names, and no attribute ``module._name``."""
    modules, taken = set(), []
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("diffnotes")):
            taken += [alias.name for alias in node.names if private(alias.name)]
            modules |= {alias.asname or alias.name for alias in node.names}
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            taken += [f"{node.value.id}.{node.attr}"] if private(node.attr) else []
    assert not taken


def public_functions(path: Path):
    """(name, function) of the public functions and methods of a module."""
    for node in TREES[path].body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                public = isinstance(method, ast.FunctionDef) and not private(method.name)
                if public and (not method.name.startswith("__") or method.name == "__init__"):
                    yield f"{node.name}.{method.name}", method


@pytest.mark.parametrize("path", [path for path in FILES if "press" not in path.parts], ids=name_of)
def test_public_functions_have_few_parameters(path):
    """Values that vary together travel together: sizes of a network as a ``Dense``, though ``MLP`` takes each alone."""
    many = {}
    for name, function in public_functions(path):
        if name == "MLP.__init__":
            continue
        given = [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
        count = len([arg for arg in given if arg not in ("self", "cls")])
        if count > MOST_PARAMETERS:
            many[name] = count
    assert not many


def test_a_chapter_has_one_name():
    """Notebook, module, figures and tests of a chapter carry its name."""
    chapters = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    toc = re.findall(r"book/chapters/(\w+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))
    assert sorted(toc) == chapters
    for place, ending in (("diffnotes/chapters", ".py"), ("diffnotes/chapters", "_figures.py")):
        assert {name for name in chapters if not (ROOT / place / f"{name}{ending}").is_file()} == set()
    assert {name for name in chapters if not (ROOT / "tests" / "chapters" / f"test_{name}.py").is_file()} == set()


def test_old_import_paths_go_on_to_work():
    import importlib

    from diffnotes.collapse import ansd, transport
    from diffnotes.distance import kl_quadrature
    from diffnotes.schedule import Chain

    import diffnotes
    from diffnotes import moved

    assert kl_quadrature is importlib.import_module("diffnotes.measure.divergence").kl
    assert ansd is diffnotes.ansd and Chain is diffnotes.Chain and transport.__module__ == "diffnotes.chapters.collapse"
    for old, places in moved.MOVED.items():
        module = importlib.import_module(f"diffnotes.{old}")
        for place in places.split():
            now = importlib.import_module(f"diffnotes.{place}")
            assert all(getattr(module, name) is not None for name in now.__all__)
    with pytest.raises(ImportError):
        importlib.import_module("diffnotes.nowhere")
    with pytest.raises(ImportError):
        from diffnotes.schedule import nothing  # noqa: F401
