"""What is wrong with an EPUB, or with what LaTeX has said of a PDF."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

__all__ = ["epub_faults", "log_faults"]

TYPES = {".xhtml": "application/xhtml+xml", ".css": "text/css", ".png": "image/png", ".svg": "image/svg+xml",
         ".ncx": "application/x-dtbncx+xml", ".jpg": "image/jpeg", ".gif": "image/gif"}  # fmt: skip
LOADS = {"src", "poster", "data"}
OVER = 12.0  # points that a line may stick out: less than the margin, and hardly to be seen
XHTML, OPF, SVG = "{http://www.w3.org/1999/xhtml}", "{http://www.idpf.org/2007/opf}", "{http://www.w3.org/2000/svg}"
MATHML = "{http://www.w3.org/1998/Math/MathML}"


def log_faults(log: str) -> list[str]:
    """What a log of LaTeX says that a reader would see.

    >>> log_faults("Missing character: There is no ✓ (U+2713) in font Times!\\nOverfull \\\\hbox (3.0pt too wide) in x")
    ['no font has the sign ✓ (U+2713), 1 time']
    """
    missing = Counter(re.findall(r"Missing character: There is no (.+?) in font", log))
    found = [f"no font has the sign {sign}, {count} time{'s' * (count > 1)}" for sign, count in sorted(missing.items())]
    found += [f"a reference that leads nowhere: {one}" for one in sorted(set(
        re.findall(r"(?:Reference|Hyper reference|Citation) [`']([^']+)'.*?undefined", log)))]  # fmt: skip
    found += [f"a label given twice: {one}" for one in sorted(set(re.findall(r"Label [`']([^']+)' multiply", log)))]
    for width, where in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)(.*(?:\n.+)?)", log):
        if float(width) > OVER:
            found.append(f"a line that is {width} points too long{where.strip()[:160]!r}")
    return found


def epub_faults(path: Path) -> list[str]:
    """What breaks the rules of EPUB 3 in the file at ``path``, or would not be read; [] if nothing.

    The archive's layout, the package's manifest and spine, XML that is well-formed, ids, links inside the book,
    alternative texts, formulas that are not MathML, scripts, and whatever would be loaded from elsewhere.
    """
    try:
        with zipfile.ZipFile(path) as book:
            if broken := book.testzip():
                return [f"{broken} is damaged"]
            return list(_faults(book))
    except (OSError, zipfile.BadZipFile) as error:
        return [f"no ZIP archive: {error}"]


def _faults(book: zipfile.ZipFile) -> Iterator[str]:
    entries = book.infolist()
    names = [one.filename for one in entries]
    first = entries[0] if entries else None
    if first is None or first.filename != "mimetype":
        yield "the first entry is not mimetype"
    elif first.compress_type != zipfile.ZIP_STORED or first.extra or book.read(first) != b"application/epub+zip":
        yield "mimetype is compressed, or not what it should be"
    yield from (f"{name} is there twice" for name, count in Counter(names).items() if count > 1)
    trees = {}
    for name in names:
        if name.endswith((".xhtml", ".opf", ".ncx", ".xml", ".svg")):
            try:
                trees[name] = ElementTree.fromstring(book.read(name))
            except ElementTree.ParseError as error:
                yield f"{name}: not well-formed: {error}"
    root = trees.get("META-INF/container.xml")
    declared = root.iter() if root is not None else ()
    packages = [one.get("full-path") for one in declared if one.tag.endswith("}rootfile")]
    if len(packages) != 1 or packages[0] not in trees:
        yield "META-INF/container.xml names no package that can be read"
        return
    yield from _package_faults(packages[0], trees, names)
    ids = {name: [one.get("id") for one in tree.iter() if one.get("id")] for name, tree in trees.items()}
    for name, tree in trees.items():
        if name.endswith(".xhtml"):
            yield from _page_faults(name, tree, ids, names)
    for name in (one for one in names if one.endswith(".css")):
        if found := re.search(r"url\(\s*['\"]?(?!data:)([^)'\"]*)|@import\s+([^;]*)", book.read(name).decode()):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), found[1] or found[2] or ""))
            if target not in names:
                yield f"{name}: loads what is not in the book: {found[0]}"


def _package_faults(package: str, trees: dict[str, ElementTree.Element], names: list[str]) -> Iterator[str]:
    above, tree = posixpath.dirname(package), trees[package]
    items = list(tree.iter(f"{OPF}item"))
    listed = {posixpath.normpath(posixpath.join(above, unquote(one.get("href", "")))): one for one in items}
    if len(listed) != len(items) or len({one.get("id") for one in items}) != len(items):
        yield f"{package}: an item is listed twice"
    content = {name for name in names if name not in ("mimetype", package) and not name.startswith("META-INF/")}
    yield from (f"{package}: does not list {name}" for name in sorted(content - listed.keys()))
    yield from (f"{package}: lists {name}, which is not there" for name in sorted(listed.keys() - content))
    for name, item in listed.items():
        expected = TYPES.get(posixpath.splitext(name)[1])
        if item.get("media-type") != expected:
            yield f"{package}: {name} is said to be {item.get('media-type')}, not {expected}"
        if name.endswith(".xhtml") and name in trees:
            tags, said = {one.tag for one in trees[name].iter()}, set(item.get("properties", "").split())
            for word, tag in (("mathml", f"{MATHML}math"), ("svg", f"{SVG}svg"), ("scripted", f"{XHTML}script")):
                if (tag in tags) != (word in said):
                    yield f"{package}: {name} {'has' if tag in tags else 'has no'} {word}, and its item says otherwise"
    if sum("nav" in one.get("properties", "").split() for one in items) != 1:
        yield f"{package}: there must be one item with properties=\"nav\""
    own = {"".join(one.itertext()).strip() for one in tree.iter() if one.tag.endswith("}identifier")}
    for name in (one for one in listed if one.endswith(".ncx") and one in trees):
        said = {one.get("content") for one in trees[name].iter() if one.get("name") == "dtb:uid"}
        if said != own:
            yield f"{name}: the identifier is {sorted(said)}, in the package {sorted(own)}"
    known = {one.get("id"): one for one in items}
    spine = [one.get("idref") for one in tree.iter(f"{OPF}itemref")]
    yield from (f"{package}: the spine has {one}, which is no item" for one in spine if one not in known)
    if not spine or len(set(spine)) != len(spine):
        yield f"{package}: the spine is empty, or has something twice"
    tags = {one.tag.partition("}")[2] for one in tree.iter()}
    yield from (f"{package}: no {one}" for one in ("title", "language", "identifier") if one not in tags)


def _page_faults(
    name: str, tree: ElementTree.Element, ids: dict[str, list[str]], names: list[str]
) -> Iterator[str]:
    twice = [(one, count) for one, count in Counter(ids[name]).items() if count > 1]
    yield from (f"{name}: {count} elements have the id {one!r}" for one, count in twice)
    for one in tree.iter():
        tag = one.tag.partition("}")[2]
        if not one.tag.startswith((XHTML, SVG, MATHML)):
            yield f"{name}: <{tag or one.tag}> has no namespace of XHTML"
        if tag in ("script", "iframe", "object", "embed", "form", "noscript"):
            yield f"{name}: has <{tag}>"
        if tag == "img" and not (one.get("alt") or "").strip():
            yield f"{name}: image without alternative text: {one.get('src')}"
        if "math" in one.get("class", "").split() and one.find(f".//{MATHML}math") is None:
            yield f"{name}: a formula that is not MathML: {''.join(one.itertext())[:60]}"
        if one.get("mathvariant", "normal") != "normal":
            yield f"{name}: a style of letters that few readers know: {one.get('mathvariant')}"
        for key, value in one.attrib.items():
            key = key.partition("}")[2] or key
            parts = urlsplit(value) if key in LOADS | {"href"} else None
            loads = key in LOADS or (key == "href" and tag != "a")
            if key.startswith("on") or (parts and parts.scheme == "javascript"):
                yield f"{name}: runs something: {value[:60]}"
            elif parts and (parts.scheme or parts.netloc):
                if loads and parts.scheme != "data":
                    yield f"{name}: loads from the network: {value[:80]}"
            elif parts and (tag == "link" or key == "src"):
                if posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(parts.path))) not in names:
                    yield f"{name}: a file that is not in the book: {value}"
            elif parts and tag == "a":
                target = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(parts.path)))
                target = target if parts.path else name
                if target not in ids:
                    yield f"{name}: link to a page that is not there: {value}"
                elif parts.fragment and unquote(parts.fragment) not in ids[target]:
                    yield f"{name}: link to an anchor that is not there: {value}"
