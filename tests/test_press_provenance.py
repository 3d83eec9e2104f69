"""What makes a page stale, and what does not; the page made from an executed notebook; where things are."""

from __future__ import annotations

import ast
import copy
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook, new_output
from presses import executed, project, save, source, stamped

from diffnotes.press import page, provenance
from diffnotes.press.cells import CodeError, essence, newlines
from diffnotes.press.errors import PressError
from diffnotes.press.files import write_whole
from diffnotes.press.layout import Project
from diffnotes.press.modules import file_of, literal, modules_used, training
from diffnotes.press.parameters import settings, values
from diffnotes.press.provenance import freshness, latest

EVERYTHING = {"__init__", "old", "law", "base", "far", "other", "data", "deep", "deep.data", "deep.room", "deep.wall"}


@pytest.fixture
def book(tmp_path: Path) -> Project:
    """A book whose chapter uses a little package of its own."""
    package = tmp_path / "little"
    (package / "press").mkdir(parents=True)
    (package / "deep").mkdir()
    files = {
        "__init__": "from .law import Law\nfrom .base import one as uno\n_LAZY = {'late': 'far'}",
        "law": "from . import base\nfrom .press import page\n\nclass Law:\n    pass\n",
        "base": "one = 1\n",
        "far": "def late():\n    import little.base\n",
        "other": "x = 1\n",
        "deep/__init__": "from . import wall\n",
        "deep/room": "from ..base import one\nx = 1\n",
        "deep/wall": "y = 1\n",
        "old": '"""``from little.law import Law`` still works."""\n\nx.__doc__ = "old"\n',
        "deep/data": 'IDENTITY = {"mnist": "def"}\n',
        "data": 'IDENTITY = {"digits": "abc"}\nnoise = 1\n',
        "press/__init__": "",
        "press/page": "y = 1\n",
    }
    for name, code in files.items():
        (package / f"{name}.py").write_text(code)
    book = project(tmp_path / "book", "one", package=package)
    (book.root / ".ci").mkdir()
    (book.root / ".ci/constraints.txt").write_text("# pins\ntorch==2.6.0\n")
    work = "from diffnotes.press.page import glue\nfrom little import Law, data\n"
    work += "from little.deep import data as more\nglue(gap=1)"
    save(source(work=work), book.source("one"))
    return book


@pytest.mark.parametrize(
    "code, modules",
    [
        ("from little import Law", {"law", "base"}),
        ("from little import uno", {"base"}),
        ("from little import late", {"far", "base"}),
        ("from little.law import Law as L", {"law", "base"}),
        ("import little\nlittle.Law", {"law", "base"}),
        ("import little as l\nprint(l.other.x)", {"other"}),
        ("import little.other", {"other"}),
        ("import little.old", {"old"}),
        ("def f():\n    from little import other", {"other"}),
        ("%matplotlib inline\nfrom little import base", {"base"}),
        ("from little.press import page", set()),
        ("import math", set()),
        ("from little import nobody", EVERYTHING),
        ("from little import *", EVERYTHING),
        ("%time from little import base", {"base"}),
        ("x = %timeit -o -n 3 __import__('little.other')", {"other"}),
        ("%%time\nfrom little import base", {"base"}),
        ("%%timeit -n 3 import little.base\nlittle.other.x", {"base", "other"}),
        ("%%bash\npython -c 'from little import base'", EVERYTHING),
        ("!ls", set()),
        ("subprocess.run([python, '-c', 'from little import base; print(base)'])", EVERYTHING),
        ("start([python, '-c', 'from little import base; print(base)'])", {"base"}),
        ("subprocess.run('python -c \"from little import base\"', shell=True)", EVERYTHING),
        ("import importlib\nimportlib.import_module('little.other')", {"other"}),
        ("x = 1\rfrom little import base", {"base"}),
        ("from little import base, = 2", EVERYTHING),
        ("from little.deep.room import x", {"deep", "deep.room", "deep.wall", "base"}),
    ],
)
def test_modules_used(book: Project, code: str, modules: set[str]) -> None:
    assert modules_used([code], book.package).keys() - {"__init__"} == modules - {"__init__"}
    assert ("__init__" in modules_used([code], book.package)) == bool(modules)


def test_the_package_of_the_book_is_followed() -> None:
    """Against the package itself: what a module imports is found, and never the press."""
    package = Project(Path()).package
    assert literal(package, "core.data", "IDENTITY").startswith("{")
    assert literal(package, "model.store", "TRAINING").isdigit()
    assert all(file_of(package, room) for room in training(package)[1])
    ways = "from diffnotes.core.denoiser import Exact", "from diffnotes import Exact", "import diffnotes as d\nd.Exact"
    for code in ways:
        used = modules_used([code, "from diffnotes.press.page import glue"], package)
        assert {"core", "core.denoiser", "core.target", "core.shape"} <= used.keys()
        assert not any(name.startswith(("press", "chapters", "show", "measure")) for name in used)


def test_essence_leaves_out_what_cannot_matter() -> None:
    code = '"""Doc."""\n\n# note\ndef f(x):  # why\n    """More\n    lines."""\n    return "# kept"  \n'
    assert essence(code) == 'def f(x):\n    return "# kept"'
    assert essence("def f(): 'doc'; return 1") == "def f(): ; return 1"
    assert essence("!ls  # x") == "!ls  # x"
    assert essence("x = '''\n# kept\n'''").count("# kept") == 1
    assert essence("x = (1,  # one\n     2)\n\n\ny = f'{x!r:>{3}}  # {{'") == "x = (1, 2)\ny = f'{x!r:>{3}}  # {{'"
    assert essence("x = 1\r# note\ry = 2") == "x = 1\ny = 2"


@pytest.mark.parametrize("outside", [
    "if x:\n    FUNCTION\nelse:\n    pass", "if x:\n    pass\nelse:\n    FUNCTION",
    "for i in x:\n    pass\nelse:\n    FUNCTION",
    "try:\n    pass\nexcept E:\n    FUNCTION\nfinally:\n    pass", "try:\n    pass\nfinally:\n    FUNCTION",
    "match x:\n    case 1:\n        FUNCTION", "class A:\n    FUNCTION", "with x:\n    FUNCTION",
    "async def g():\n    FUNCTION",
])  # fmt: skip
def test_essence_finds_the_docstrings_of_all_blocks(outside: str) -> None:
    code = outside.replace("FUNCTION", "def f():\n                'Doc.'\n                return 1")
    assert "Doc" in code and "Doc" not in essence(code) and "return 1" in essence(code)


@pytest.mark.parametrize(
    "one, other",
    [
        ('"""Check."""; print(10)', '"""Check."""; print(99)'),
        ('"""Shown."""', '"""Shown, too."""'),
        ("def f():\n    'Doc.'; return 1", "def f():\n    'Doc.'; return 2"),
        ("x = '''a\n\nb'''", "x = '''a\nb'''"),
        ("x = '''a  \nb'''", "x = '''a\nb'''"),
        ("x = f'''a\n  {1}'''", "x = f'''a\n {1}'''"),
        ("x = '# one'", "x = '# two'"),
        ("class é:\n    'é'; x = 1", "class é:\n    'é'; x = 2"),
        ("if a:\n    b\n    c", "if a:\n    b\nc"),
        ("%time 1 + 1", "%time 1 + 2"),
        ("def f():\n    f'doc {g()}'", "def f():\n    f'doc {h()}'"),
        ("x = 1\ry = 2", "x = 1\ry = 3"),
    ],
)
def test_what_can_change_a_result_changes_the_essence(one: str, other: str) -> None:
    assert essence(one, cell=True) != essence(other, cell=True)


WORDS = st.sampled_from(["x", "= 1", "\n", "    ", "'a'", '"""d"""', "# c", "f'{x}'", "(", ")", ";", "def f():",
                         "\r", "é", "\\\n"])  # fmt: skip


@given(st.lists(WORDS, max_size=12).map("".join))
def test_the_essence_of_code_is_that_code(code: str) -> None:
    """It parses where the code does, to the same tree without documentation, and is its own essence."""
    try:
        tree = ast.parse(newlines(code))
    except (SyntaxError, ValueError):
        assert essence(code, cell=True) == newlines(code)
        return
    if not any(isinstance(node, ast.FunctionDef) for node in ast.walk(tree)):
        assert ast.dump(ast.parse(essence(code, cell=True))) == ast.dump(tree)
        assert essence(essence(code, cell=True), cell=True) == essence(code, cell=True)


@pytest.mark.parametrize(
    "code, found",
    [
        ("seeds = list(range(3))", {"seeds": [0, 1, 2]}),
        ("n: int = 2 ** 3\nm = k = [10 ** i for i in range(2)]\nn += 1", {"n": 9, "m": [1, 10], "k": [1, 10]}),
        ("a, (b, c) = 1, ('x', -2.5)", {"a": 1, "b": "x", "c": -2.5}),
        ("clip = float('inf')  # why", {"clip": float("inf")}),
        ("'Words.'\nx = {'a': True, 'b': None}", {"x": {"a": True, "b": None}}),
    ],
)
def test_parameters_are_values(code: str, found: dict[str, Any]) -> None:
    assert values(code) == found


REFUSED = ["import os", "x = open('f')", "x = a.b", "x = lambda: 0", "x = y", "f()", "x = 1 / 0", "x = = 1",
           "for i in range(3): x = i", "x = %time 3", "x = __import__('os')"]  # fmt: skip


@pytest.mark.parametrize("code", REFUSED)
def test_parameters_that_are_no_plain_values_are_refused(code: str) -> None:
    with pytest.raises(CodeError):
        values(code)


def fresh(book: Project, notebook: Any) -> str:
    state = freshness(notebook, book, "one")
    return state.state if state.state == "fresh" else f"{state.state}: {'; '.join(state.reasons)}"


def test_freshness(book: Project) -> None:
    """Each kind of change makes the page stale and is named; taken back, the page is fresh; prose never matters."""
    notebook = executed(book)
    path = book.source("one")
    assert fresh(book, notebook) == "fresh"
    changes = [
        (path, "glue(gap=1)", "glue(gap=2)", "stale: code cell 2"),
        (path, "glue(gap=1)", "glue(gap=1)  # why", "fresh"),
        (path, "It grows.", "It grows and grows.", "fresh"),
        (path, "size = 3", "size = 4", "stale: code cell 1"),
        (book.package / "law.py", "pass", "x = 1", "stale: the package: law"),
        (book.package / "base.py", "1", "2", "stale: the package: base"),
        (book.package / "law.py", "pass", '"""Doc."""\n    pass', "fresh"),
        (book.package / "other.py", "1", "2", "fresh"),
        (book.package / "press/page.py", "1", "2", "fresh"),
        (book.package / "__init__.py", "late", "later", "stale: the package: __init__"),
        (book.package / "base.py", "one = 1", "# coding: latin-1\none = 1", "stale: the package: base"),
        (book.package / "data.py", "abc", "abd", "stale: the package: data; the data"),
        (book.package / "deep/data.py", "def", "deg", "stale: the package: deep.data; the data"),
        (book.root / ".ci/constraints.txt", "2.6.0", "2.7.0", "stale: the locked versions"),
        (book.root / ".ci/constraints.txt", "# pins", "# pinned", "fresh"),
        (book.root / "notebooks/profiles.toml", "[one.smoke]", "[one.cpu]", "stale: the parameters: size"),
    ]
    for place, old, new, state in changes:
        text = place.read_text()
        assert old in text
        place.write_text(text.replace(old, new))
        assert fresh(book, notebook) == state, (place.name, old, new)
        place.write_text(text)
        assert fresh(book, notebook) == "fresh"


def test_rules_of_the_claims_are_covered(book: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = executed(book)
    monkeypatch.setattr("diffnotes.press.ledger.rules", lambda name: {"T1": [["a", "> 1", ""]]})
    assert fresh(book, notebook) == "stale: the rules of its claims"


def test_seed_device_and_cells(book: Project) -> None:
    notebook = executed(book)
    wanted = settings(book, "one", "cpu", seed=3)
    assert wanted == {"seed": 3}
    assert freshness(notebook, book, "one", wanted).reasons == ["the parameters: seed"]
    assert freshness(notebook, book, "one", device="cuda").reasons == ["the device: cpu then, cuda wanted"]
    assert freshness(notebook, book, "one", device="cpu").state == "fresh"
    assert freshness(None, book, "one").state == "missing"
    more = source()
    more.cells.append(new_code_cell("1"))
    save(more, book.source("one"))
    assert "the code cells (6 then, 7 now)" in freshness(notebook, book, "one").reasons


def test_hash_does_not_depend_on_order_or_place(book: Project, tmp_path: Path) -> None:
    one = provenance.fingerprint(book, "one", {"a": 1, "b": 2})
    assert one == provenance.fingerprint(book, "one", {"b": 2, "a": 1, "device": "cpu"})
    assert one["hash"] != provenance.fingerprint(book, "one", {"a": 1, "b": 3})["hash"]
    (tmp_path / "elsewhere").mkdir()
    moved = Project((tmp_path / "book").rename(tmp_path / "elsewhere/book"), book.package)
    assert one == provenance.fingerprint(moved, "one", {"a": 1, "b": 2})


def test_normalise() -> None:
    note = {"figure": {"name": "fig-a", "caption": "C", "alt": "A"}}
    outputs = [
        new_output("stream", name="stdout", text="a"),
        new_output("stream", name="stdout", text="b"),
        new_output("display_data", {"image/png": "x", "text/plain": "A"}, metadata={"diffnotes": note}),
        new_output("display_data", {"text/markdown": "*C*"}, metadata={"diffnotes": {"echo": True}}),
        new_output("execute_result", {"text/plain": "<f at 0x7f00aabbccdd>"}, execution_count=1),
    ]
    timing = {"papermill": {"duration": 1}, "execution": {"x": "1"}, "tags": []}
    cells = [
        new_code_cell("", outputs=outputs, metadata=copy.deepcopy(timing)),
        new_code_cell("a = 1", metadata={**copy.deepcopy(timing), "tags": ["injected-parameters"]}),
        new_code_cell("", metadata={"tags": ["parameters"]}),
    ]
    metadata = {
        "kernelspec": {"name": "odd", "display_name": "Odd"},
        "papermill": {"path": "/home/x"},
        "language_info": {"name": "python", "version": "3.11"},
    }
    raw = new_notebook(cells=cells, metadata=metadata)
    before = copy.deepcopy(raw)
    done = page.normalise(raw)
    assert raw == before and page.normalise(done) == done
    assert done.metadata == {"kernelspec": page.KERNEL, "language_info": {"name": "python"}}
    first = done.cells[0]
    assert first.metadata == {"mystnb": {"figure": {"name": "fig-a", "caption": "C"}, "image": {"alt": "A"}}}
    assert [output.output_type for output in first.outputs] == ["stream", "display_data", "execute_result"]
    assert first.outputs[0].text == "ab" and first.outputs[2].data["text/plain"] == "<f>"
    assert done.cells[1].id == "injected-parameters"
    assert [cell.metadata["tags"] for cell in done.cells[1:]] == [["hide-input", "injected-parameters"],
                                                                  ["hide-input", "parameters"]]  # fmt: skip


def test_new_prose_around_old_results(book: Project) -> None:
    notebook, changed = executed(book), page.read(book.source("one"))
    changed.cells[4].source = "New words {glue:text}`gap:.2f`."
    changed.cells.pop(5)
    done = page.with_prose(notebook, changed)
    assert [cell.source for cell in done.cells] == [cell.source for cell in changed.cells]
    assert provenance.seal(done) == provenance.seal(notebook) == notebook.metadata["diffnotes"]["provenance"]["seal"]
    assert done.metadata == notebook.metadata and page.with_prose(done, changed) == done


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, [1, 2]])
def test_glue_refuses(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="gap = "):
        page.glue(gap=value)


def test_glue_keeps_plain_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy
    import torch

    shown: list[tuple] = []
    monkeypatch.setattr("IPython.display.display", lambda data, **options: shown.append((data, options)))
    page.glue(a=torch.tensor(0.5), b=numpy.float64(0.25), c=3, d="x", e={"one": 1, "two x": 2.5})
    from IPython.core.formatters import DisplayFormatter

    formatter = DisplayFormatter()
    for (data, options), (name, value) in zip(shown, dict(a=0.5, b=0.25, c=3, d="x", e_one=1, e_two_x=2.5).items()):
        told = formatter.format(value)[0]  # as IPython shows it, which is what myst_nb's glue keeps
        assert data == {f"application/papermill.record/{mime}": text for mime, text in told.items()}
        assert options["metadata"]["scrapbook"]["name"] == name and options["raw"]


def test_layout(tmp_path: Path) -> None:
    book = project(tmp_path / "book", "one", "two")
    (book.root / "notebooks/deep").mkdir()
    assert Project.find(book.root / "notebooks/deep").root == book.root
    with pytest.raises(PressError, match="no book here"):
        Project.find(tmp_path)
    assert book.choose() == ["one", "two"] and book.choose(["two", "two"]) == ["two"]
    save(source(), book.source("three"))
    with pytest.raises(PressError, match=r"'three'; a notebook of that name exists, but _toc.yml.*allowed: one, two"):
        book.choose(["three"])
    assert settings(book, "one", "smoke") == {"profile": "smoke", "size": 1}
    assert settings(book, "one", "cpu") == {} and settings(book, "one", "cpu", 1, "cpu") == {"seed": 1, "device": "cpu"}
    with pytest.raises(PressError, match="'big'; allowed: smoke, cpu, gpu"):
        settings(book, "one", "big")
    (book.root / "notebooks/profiles.toml").write_text("[one.gpu]\nsise = 1\n")
    with pytest.raises(PressError, match=r"\[one.gpu\] sets unknown 'sise'; allowed: profile, device, seed, size"):
        settings(book, "one", "gpu")
    with pytest.raises(PressError, match="no profile 'cifar10' for one; allowed there: smoke, cpu, gpu"):
        settings(book, "one", "cifar10")
    (book.root / "notebooks/profiles.toml").write_text("[one.cifar10]\nsize = 4\n")
    assert settings(book, "one", "cifar10") == {"profile": "cifar10", "size": 4}
    assert book.choose(["one"], "cifar10") == ["one"] and book.choose([], "gpu") == ["one", "two"]


def test_latest_prefers_fresh_pages(tmp_path: Path) -> None:
    book = project(tmp_path / "book", "one")
    assert latest(book, "one") is None
    pages = {profile: executed(book, profile=profile) for profile in ("smoke", "cpu", "gpu")}
    for profile, place in (("smoke", book.page("smoke", "one")), ("cpu", book.published("one")),
                           ("cpu", book.page("cpu", "one")), ("gpu", book.page("gpu", "one"))):  # fmt: skip
        save(pages[profile], place)
        assert latest(book, "one") == place
    pages["gpu"].metadata["diffnotes"]["provenance"]["parts"]["code"][0] = "x"
    record = pages["gpu"].metadata["diffnotes"]["provenance"]
    record["hash"] = provenance.digest(record["parts"])
    save(provenance.sealed(pages["gpu"]), book.page("gpu", "one"))
    assert latest(book, "one") == book.page("cpu", "one")
    for place in (book.page("cpu", "one"), book.published("one")):
        place.unlink()
    assert latest(book, "one") == book.page("gpu", "one")  # stale, but no smoke, which is fresh
    save(stamped(pages["gpu"], book, profile="gpu"), book.page("gpu", "one"))
    assert latest(book, "one") == book.page("gpu", "one")
    # Other data come after the book's own, but before no page at all.
    book.tables.write_text(book.tables.read_text() + "[one.cifar10]\nsize = 2\n")
    save(executed(book, profile="cifar10"), book.page("cifar10", "one"))
    assert latest(book, "one") == book.page("gpu", "one")
    book.page("gpu", "one").unlink()
    assert latest(book, "one") == book.page("cifar10", "one")


def test_files_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "a" / "page.ipynb"
    write_whole(place, "old")

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_whole(place, "new")
    assert place.read_text() == "old" and list(place.parent.iterdir()) == [place]


def test_only_an_ordinary_file_is_replaced(tmp_path: Path) -> None:
    """A pipe stands for /dev/null, which for root is as easily replaced."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "nowhere").symlink_to("missing")
    for name in ("pipe", "link", "."):
        with pytest.raises(PressError, match="is no ordinary file"):
            write_whole(tmp_path / name, "new")
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()
    write_whole(tmp_path / "nowhere", "new")
    assert (tmp_path / "nowhere").read_text() == "new"
