"""Links that lead out of the book: their form, which needs no network. `make links` asks whether they answer."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qsl, urlsplit

import pytest
from sites import ROOT, built

# Where the book may lead; another place is added here on purpose.
HOSTS = {"arxiv.org", "doi.org", "innovation-cat.github.io", "jmlr.org", "keepachangelog.com", "projecteuclid.org",
         "semver.org"}  # fmt: skip
DATA = {"www.cs.toronto.edu", "cave.cs.toronto.edu", "storage.googleapis.com", "s3.amazonaws.com"}  # in core/data.py
TRACKING = re.compile(r"utm_\w+|fbclid|gclid|mc_[ce]id|ref|source|igshid|spm", re.I)
FORMS = {"arxiv.org": r"https://arxiv\.org/abs/\d{4}\.\d{4,5}",
         "doi.org": r"https://doi\.org/10\.\d{4,9}/[^\s?#]+"}  # fmt: skip
WRITTEN = re.compile(r"""\bhttps?://[^\s"'`<>\\)\]}]+(?<![.,;:])""")


def fault(address: str) -> str:
    """What is wrong with the form of a link, in words; "" if nothing is."""
    parts = urlsplit(address)
    if parts.scheme != "https":
        return "is not https"
    if parts.netloc not in HOSTS | DATA:
        return f"leads to {parts.netloc}, which is not in the list of tests/test_links.py"
    if tracked := [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if TRACKING.fullmatch(name)]:
        return f"tells who follows it: {', '.join(tracked)}"
    if (form := FORMS.get(parts.netloc)) and not re.fullmatch(form, address):
        return f"has not the form {form}"
    return ""


def spellings(addresses: Iterable[str]) -> list[list[str]]:
    """Links that are one place, written in several ways."""
    found: dict[str, set[str]] = {}
    for address in addresses:
        bare = re.sub(r"^https?://(?:www\.)?|/?(?:index\.html)?(?:#.*)?$", "", address.lower())
        found.setdefault(bare, set()).add(address.split("#")[0])
    return [sorted(ways) for ways in found.values() if len(ways) > 1]


def script() -> ModuleType:
    """The command that asks the network, as a module."""
    loader = SourceFileLoader("external_links", str(ROOT / ".ci" / "external-links"))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def written() -> dict[str, str]:
    """Address -> file, of all that is typed in prose, claims, notebooks' sources and the bibliography."""
    listing = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    prose = (".md", ".bib", ".cff", ".toml", ".yml", ".ipynb")
    names = [name for name in listing.stdout.split("\0") if name.endswith(prose)]
    names = [name for name in names if not name.startswith(("book/chapters/", "tests/", ".github/"))]
    texts = {name: (ROOT / name).read_text(encoding="utf8") for name in [*names, "diffnotes/core/data.py"]}
    assert len(texts) > 30
    return {address: name for name, text in texts.items() for address in WRITTEN.findall(text)}


@pytest.mark.parametrize(("address", "words"), [
    ("https://arxiv.org/abs/2006.11239", ""),
    ("https://doi.org/10.1038/s41586-024-07566-y", ""),
    ("https://semver.org", ""),
    ("http://semver.org", "https"),
    ("https://example.org", "not in the list"),
    ("https://semver.org/?utm_source=x", "utm_source"),
    ("https://arxiv.org/pdf/2006.11239", "form"),
    ("https://arxiv.org/abs/2006.11239v2", "form"),
    ("https://doi.org/10.1038/x?via=y", "form"),
    ("https://dx.doi.org/10.1038/x", "not in the list"),
])  # fmt: skip
def test_the_form_of_a_link(address: str, words: str) -> None:
    assert words in fault(address) and bool(words) == bool(fault(address))


def test_one_place_in_two_spellings_is_seen() -> None:
    assert spellings(["https://a.org/b", "https://a.org/b#c", "https://d.org"]) == []
    assert len(spellings(["https://a.org", "https://www.a.org/", "https://b.org/index.html", "https://b.org/"])) == 2


def test_links_out_of_the_book_have_one_form_each(tmp_path: Path) -> None:
    """Those that are typed, and those that the builder makes, of the bibliography above all."""
    example = "https://github.com/OWNER/NAME"  # how the address of the repository is given
    typed = {address: name for address, name in written().items() if address != example}
    shown = script().links(built())
    assert len(shown) > 25 and len(typed) >= 5
    together = {**shown, **typed}
    assert not [f"{name}: {address} {fault(address)}" for address, name in together.items() if fault(address)]
    assert not spellings(together)
    (tmp_path / "a.html").write_text('<a class="x" href="http://a.org/?a=1&amp;b=2#c">a</a>')
    assert script().links(tmp_path) == {"http://a.org/?a=1&b=2": "a.html"}
