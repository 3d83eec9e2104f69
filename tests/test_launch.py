"""Chapters opened elsewhere: the notebooks of the site, the cell that gets the package, and the buttons."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from sites import ROOT, built, runnable

from diffnotes.press import launch, site
from diffnotes.press.imprint import Edition, edition
from diffnotes.press.processes import environment

ADDRESS = "https://github.com/somebody/book"
BOOK = Edition("1.2", "abc1234", "2026-01-02", False, "abc1234" + "0" * 33)
LINK = re.compile(r'href="(https://(?:mybinder|colab|github)[^"]+)"')


# The notebooks of the site


def notebook(folder: str, name: str = "targets") -> Any:
    return nbformat.read(built() / folder / f"{name}.ipynb", as_version=4)


def test_each_chapter_can_be_downloaded_without_and_with_outputs() -> None:
    names = sorted(path.stem for path in (built() / "book/chapters").glob("*.html"))
    for folder in launch.FOLDERS:
        assert sorted(path.stem for path in (built() / folder).glob("*.ipynb")) == names
    for name in names:
        clean, executed = notebook("notebooks", name), notebook("executed", name)
        nbformat.validate(clean), nbformat.validate(executed)
        code = [[cell for cell in one.cells if cell.cell_type == "code"] for one in (clean, executed)]
        assert not any(cell.outputs or cell.execution_count for cell in code[0]) and "diffnotes" not in clean.metadata
        assert any(cell.outputs for cell in code[1]) and "provenance" in executed.metadata["diffnotes"]
        for cells in code:
            assert ["launch" in cell.metadata.get("tags", []) for cell in cells] == [True] + [False] * (len(cells) - 1)
        page = (built() / f"book/chapters/{name}.html").read_text(encoding="utf8")
        for folder in launch.FOLDERS:
            assert page.count(f'href="../../{folder}/{name}.ipynb"') == 2  # in the head, and without a script
        assert "_sources/" not in page
    assert not list((built() / "_sources/book/chapters").rglob("*.ipynb"))


def test_the_code_is_that_of_the_chapter_and_prose_needs_no_book() -> None:
    source = nbformat.read(ROOT / "notebooks/targets.ipynb", as_version=4)
    clean = notebook("notebooks")
    code = [[cell.source for cell in one.cells if cell.cell_type == "code"] for one in (source, clean)]
    assert code[1][1:] == code[0]
    prose = "\n".join(cell.source for cell in clean.cells if cell.cell_type == "markdown")
    assert not re.search(r"\{(?:glue:text|cite|term|doc)\b", prose)


def test_formulas_need_no_macros() -> None:
    macros = yaml.safe_load((ROOT / "book/notation.yml").read_text(encoding="utf8"))["macros"]
    used = re.compile(rf"\\(?:{'|'.join(macros)})(?![A-Za-z])")
    for name in ("recursion", "gradients"):
        source = nbformat.read(ROOT / f"notebooks/{name}.ipynb", as_version=4)
        assert any(used.search(cell.source) for cell in source.cells)
        for folder in launch.FOLDERS:
            prose = [cell.source for cell in notebook(folder, name).cells if cell.cell_type == "markdown"]
            assert not [found for text in prose for found in used.findall(text)] and not prose[0].startswith("---")


# The cell


def test_the_cell_names_address_edition_and_libraries() -> None:
    cell = launch.first_cell("targets", ADDRESS, BOOK)
    assert repr(ADDRESS) in cell and repr(BOOK.revision) in cell and '"diffnotes-abc1234"' in cell
    assert repr(" ".join(launch.IMPORTS)) in cell
    assert "'v1.2'" in launch.first_cell("targets", ADDRESS, Edition("1.2"))
    asked = launch.first_cell("targets", "", BOOK)
    assert "make lab CHAPTER=targets" in asked and "http" not in asked
    for code in (cell, asked):
        compile(code, "cell", "exec")
        assert len(code.splitlines()) <= 25


def test_what_is_installed_is_what_the_book_needs_without_its_press() -> None:
    import tomllib

    from packaging.requirements import Requirement

    lines = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    needed = {Requirement(line).name for line in lines}
    making = {name for name in needed if name.startswith(("jupyter", "sphinx"))} | {
        "papermill", "ipykernel", "psutil"}  # psutil grades
    assert set(launch.IMPORTS) - {"nbformat"} == needed - making  # nbformat comes with Jupyter


FAKE_PIP = """
import json, os, pathlib, sys
place = pathlib.Path(__file__).parents[1]
with open(place / "asked", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if "--no-deps" in sys.argv:
    (place / "diffnotes").symlink_to(pathlib.Path(sys.argv[-1]) / "diffnotes")
"""


class Bare:
    """A Python without the package, and a pip that links it from where it is told to take it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.installed, self.home = folder, folder / "installed", folder / "home"
        (self.installed / "pip").mkdir(parents=True)
        (self.installed / "pip/__init__.py").touch()  # else the real one, which is a package, would be taken
        (self.installed / "pip/__main__.py").write_text(FAKE_PIP)
        self.home.mkdir()

    def run(self, code: str, *paths: str) -> subprocess.CompletedProcess[str]:
        """Run ``code`` in the home, with no packages but those of ``paths`` and what has been installed."""
        told = os.pathsep.join([str(self.installed), *paths])
        harmless = {"PIP_DRY_RUN": "1", "PIP_NO_INDEX": "1"}  # were the real pip called, it would do nothing
        env = environment(self.folder, HOME=str(self.home), PYTHONPATH=told, OMP_NUM_THREADS="1", **harmless)
        env.pop("DIFFNOTES_PUBLISHED", None)
        return subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, env=env,
                              cwd=self.home)  # fmt: skip

    def asked(self) -> list[list[str]]:
        file = self.installed / "asked"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def bare(tmp_path: Path) -> Bare:
    return Bare(tmp_path)


def git(folder: Path, *words: str) -> str:
    options = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *options, "-C", folder, *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> tuple[str, Edition]:
    """A repository with two commits, and the edition that is the first."""
    root = tmp_path / "some where"
    (root / "diffnotes").mkdir(parents=True)
    (root / "book/networks").mkdir(parents=True)
    (root / "diffnotes/__init__.py").write_text("which = 'first'")
    (root / "book/networks/a.safetensors").write_text("weights")
    git(root, "init", "-q"), git(root, "add", "."), git(root, "commit", "-qm", "one")
    git(root, "config", "uploadpack.allowReachableSHA1InWant", "true")
    sha = git(root, "rev-parse", "HEAD").strip()
    (root / "diffnotes/__init__.py").write_text("which = 'second'")
    git(root, "commit", "-qam", "two")
    return root.as_uri(), Edition("1.2", sha[:7], "2026-01-02", False, sha)


TOLD = "\nimport os, diffnotes; print(diffnotes.which, os.environ.get('DIFFNOTES_PUBLISHED', 'nowhere'))"


def test_where_the_package_is_missing_that_edition_is_fetched(bare: Bare, repository: tuple[str, Edition]) -> None:
    address, book = repository
    cell = launch.first_cell("targets", address, book)
    done = bare.run(cell + TOLD)
    place = bare.home / f"diffnotes-{book.commit}"
    assert done.stdout.split() == ["first", str(place / "book/networks")], done.stderr
    install, libraries = bare.asked()
    assert install[:4] == ["install", "--quiet", "--no-deps", str(place)]
    assert libraries[-len(launch.IMPORTS):] == list(launch.IMPORTS)
    again = bare.run(cell + TOLD)  # as after a restart of the kernel: nothing is fetched, the networks are found
    assert again.stdout == done.stdout and len(bare.asked()) == 2


@pytest.mark.parametrize("address", ["", "https://github.invalid/a/b"])
def test_where_the_package_is_there_nothing_is_done(bare: Bare, repository: tuple[str, Edition], address: str) -> None:
    (bare.installed / "diffnotes.py").write_text("which = 'own'")
    done = bare.run(launch.first_cell("targets", address, repository[1]) + TOLD)
    assert done.stdout.split() == ["own", "nowhere"], done.stderr
    assert bare.asked() == [] and list(bare.home.iterdir()) == []


def test_without_an_address_the_cell_says_what_to_do(bare: Bare) -> None:
    done = bare.run(launch.first_cell("recursion", "", BOOK))
    assert done.returncode and "ModuleNotFoundError" in done.stderr
    assert "make lab CHAPTER=recursion" in done.stderr and "DIFFNOTES_PUBLISHED" in done.stderr
    assert bare.asked() == []


def test_a_chapter_opened_elsewhere_finds_the_networks_of_the_book(bare: Bare) -> None:
    """The first cells of a chapter, away from the book, with a package and networks that were fetched just now."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    head = git(ROOT, "rev-parse", "HEAD").strip()
    page = nbformat.read(ROOT / "book/chapters/targets.ipynb", as_version=4)
    cell = launch.first_cell("targets", ROOT.as_uri(), edition(ROOT)._replace(revision=head))
    made = launch.opened_elsewhere(page, "targets", cell, ROOT, outputs=False)
    cells = [one.source for one in made.cells if one.cell_type == "code"]
    few = cells[: 2 + next(i for i, code in enumerate(cells) if "kept(" in code)]
    few += ["from diffnotes.model import store\nprint('used', {one['source'] for one in store._used.values()})",
            "import diffnotes\nprint('from', diffnotes.__file__)"]  # fmt: skip
    done = bare.run("\n".join(few), sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"])
    assert "used {'published'}" in done.stdout, done.stderr[-2000:]
    assert f"from {bare.installed}" in done.stdout


# The buttons


def test_buttons_come_from_one_address() -> None:
    assert launch.buttons("targets", "", "main", "x.html#y") == []
    found = {one["text"]: one["url"] for one in launch.buttons("targets", ADDRESS, "main", "x.html#y")}
    assert found == {
        "Colab": "https://colab.research.google.com/github/somebody/book/blob/launch/targets.ipynb",
        "Binder": "https://mybinder.org/v2/gh/somebody/book/main?urlpath=lab/tree/notebooks/targets.ipynb",
        "JupyterLab": "x.html#y",
    }
    other = {one["text"]: one["url"] for one in launch.buttons("a", "https://host.example/x/y.git", "main", "l")}
    assert other.keys() == {"Binder", "JupyterLab"}
    assert "/v2/git/https%3A%2F%2Fhost.example%2Fx%2Fy.git/main?" in other["Binder"]


def test_a_book_without_an_address_has_no_buttons_that_need_one() -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))
    if config["repository"]["url"]:
        pytest.skip("the book has an address")
    for path in (built() / "book").rglob("*.html"):
        text = path.read_text(encoding="utf8")
        assert not LINK.findall(text) and "dropdown-launch-buttons" not in text, path
    assert "no public address" in notebook("notebooks").cells[1].source


def test_a_book_with_an_address_has_them_all(tmp_path: Path) -> None:
    project = runnable(tmp_path / "book")
    config = project.root / "_config.yml"
    text = config.read_text(encoding="utf8")
    config.write_text(re.sub(r'(?m)^  url: .*$', f"  url: {ADDRESS}", text), encoding="utf8")
    html = site.build("latest", project.root, say=lambda _: None)  # the scan follows the links within the book
    page = (html / "book/chapters/sample.html").read_text(encoding="utf8")
    links = LINK.findall(page)
    expected = [one["url"] for one in launch.buttons("sample", ADDRESS, "main", "../reproduce.html#by-hand")]
    assert set(expected[:2]) <= set(links) and f'href="{expected[2]}"' in page
    assert ADDRESS in links and any("/issues/new" in link for link in links)
    assert all("/somebody/book" in link for link in links)
    assert page.count("dropdown-launch-buttons") == 1
    assert "dropdown-launch-buttons" not in (html / "book/index.html").read_text(encoding="utf8")
    for folder in launch.FOLDERS:
        made = nbformat.read(html / folder / "sample.ipynb", as_version=4)
        assert repr(ADDRESS) in made.cells[1].source
    assert ADDRESS in re.search(r'<details class="cite">.*?</details>', page, re.S)[0]


# Binder


def test_binder_takes_the_environment_of_the_book() -> None:
    """repo2docker looks into binder/ and .binder/ first; a local package is installed with all of the repository."""
    assert not (ROOT / "binder").exists() and not (ROOT / ".binder").exists()
    assert not [name for name in ("Dockerfile", "apt.txt", "postBuild", "start") if (ROOT / name).exists()]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf8"))
    (by_pip,) = (line["pip"] for line in environment["dependencies"] if isinstance(line, dict))
    assert by_pip[-1] == "-e ." and any(str(line).startswith("pytorch>=") for line in environment["dependencies"])
