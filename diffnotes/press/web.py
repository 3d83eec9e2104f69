"""What a document asks for when it is opened: the one list of what loads, for HTML, SVG, style sheets and scripts.

:class:`Document` reads HTML or SVG as a browser would, only more suspiciously: what is not plainly harmless counts.
The gates hold the outputs and the prose of a chapter to it, the scan of the site the finished pages. Everything here
takes time in proportion to the length of the text, whatever the text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

__all__ = ["Document", "elsewhere", "script_loads", "style_loads", "unsafe_link"]

NAMESPACES = re.compile(r"https?://(?:www\.)?(?:w3\.org|json-schema\.org)/", re.I)
# Attributes that make a browser ask for something, on whatever element they stand; "data" and "href" depend on it.
LOADS = {"src", "poster", "background", "dynsrc", "lowsrc", "code", "codebase", "archive", "classid", "manifest",
         "action", "formaction", "ping", "attributionsrc", "profile", "data", "href", "xlink:href", "icon",
         "xml:base"}  # fmt: skip
LISTS = {"srcset", "imagesrcset", "ping", "archive"}  # of several addresses
ANIMATED = {"to", "from", "by", "values"}  # of SVG's animations, which may set an address
QUIET = {"alternate", "author", "bookmark", "canonical", "help", "index", "license", "me", "next", "nofollow", "prev",
         "search", "shortlink", "tag", "up", "first", "last", "contents", "copyright", "top"}  # fmt: skip  relations
ACTIVE = {"script", "iframe", "frame", "frameset", "object", "embed", "applet", "portal", "fencedframe", "base", "meta",
          "link", "form"}  # fmt: skip
DATA = re.compile(r"(?:application|text)/(?:[\w.+-]*\+)?json|math/\w+|text/(?:plain|x-(?:thebe|mathjax)-config)", re.I)
MEDIA = re.compile(r"data:(?:(?:image|font|audio|video)/|application/(?:x-)?font|[;,]|$)", re.I)
RAW = ("script", "style", "textarea", "title", "xmp", "noembed", "noframes", "iframe")

_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*+)|<(!--|!|\?|/)")
_ATTRIBUTE = re.compile(
    r"""[\s/]*+(?:(>)|([^\s/>=][^\s/>=]*+|=[^\s/>=]*+)(?:\s*+=\s*+(?:"([^"]*+)"?|'([^']*+)'?|([^\s>]*+)))?+)"""
)
_CSS_COMMENT = re.compile(r"/\*(?:[^*]++|\*(?!/))*+(?:\*/|$)")
_CSS_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})\s?|\n|(.))", re.S)
_CSS_LOAD = re.compile(
    r"""url\(\s*+(?:"([^"]*+)"?|'([^']*+)'?|([^"')\s][^)\s]*+))"""
    r"""|["']\s*+((?:[a-z][a-z0-9+.-]{1,15}+:)?+[\\/]{2}[^"']*+)""",
    re.I,
)
# What comes before an address in a script that loads it.
_CALL = re.compile(
    r"""(?:\b(?:fetch|import|importScripts|WebSocket|EventSource|Worker|SharedWorker|sendBeacon|getScript|ajax|require|load"""
    r"""|Request|open|register)\s{0,9}\(\s{0,99}(?:["'`]\w{1,9}["'`]\s{0,9},\s{0,99})?\[?\s{0,99}"""
    r"""|\b(?:from|import)\s{0,9}|\.(?:src|href|action|poster)\s{0,9}\+?=\s{0,99})$""",
    re.I,
)
_ABSOLUTE = re.compile(r"""(?:(?:https?|wss?|ftp):)?+[\\/]{2,4}(?=[\w\[$])[^\s"'`<>\\)]*+""", re.I)
_QUOTED = re.compile(r"""["'`]\s*+((?:(?:https?|wss?|ftp):)?+//(?=[\w\[$])[^\s"'`<>]*+)""", re.I)


def _bare(address: str) -> str:
    """``address`` as a browser takes it: without white space and control characters around and line ends inside."""
    return re.sub(r"[\t\n\r]", "", address).strip("".join(map(chr, range(33))))


def elsewhere(address: str) -> bool:
    """Whether loading ``address`` leaves the folder that the page lies in.

    >>> [elsewhere(text) for text in ("a/b.png#c", "data:image/png;base64,AA", "//x.org", "wss://x.org", "\\\\\\\\x")]
    [False, False, True, True, True]
    """
    text = _bare(address)
    if re.match(r"[\\/]{2}", text):
        return True
    if not (scheme := re.match(r"([a-z][a-z0-9+.-]{0,30}):", text, re.I)):
        return False
    return not (scheme[1].lower() in ("blob", "about") or MEDIA.match(text))


def unsafe_link(address: str) -> bool:
    """Whether following ``address`` does anything but open a web page, a mail, or another page of the book.

    >>> [unsafe_link(text) for text in ("https://x.org", "a.html#b", "java\\nscript:x()", "file:///a", "data:,x")]
    [False, False, True, True, True]
    """
    scheme = re.match(r"([a-z][a-z0-9+.-]{0,30}):", _bare(address), re.I)
    return bool(scheme) and scheme[1].lower() not in ("http", "https", "mailto")


def style_loads(text: str) -> list[str]:
    """Addresses elsewhere that the style sheet or the value of an attribute ``text`` loads."""
    if not re.search(r"[(\"'\\]", text):
        return []

    def letter(match: re.Match[str]) -> str:
        number = int(match[1], 16) if match[1] else 0
        return (chr(number) if 0 < number < 0x110000 else "") if match[1] else match[2] or ""

    found: dict[str, None] = {}
    for form in (text, _CSS_COMMENT.sub(" ", text)):
        for version in (form, _CSS_ESCAPE.sub(letter, form)):
            for match in _CSS_LOAD.finditer(version):
                address = next((part for part in match.groups() if part), "")
                if elsewhere(address) and not NAMESPACES.match(_bare(address)):
                    found[_bare(address)] = None
    return list(found)


def script_loads(text: str, strict: bool = False) -> list[str]:
    """Addresses elsewhere that the script ``text`` loads; ``strict``: any that it holds as a text of its own."""
    text, found = text.replace("\\/", "/"), []
    for match in _QUOTED.finditer(text):
        socket = match[1][:2].lower() == "ws"
        if strict or socket or _CALL.search(text[max(0, match.start() - 250) : match.start()]):
            found.append(match[1])
    return [address for address in dict.fromkeys(found) if not NAMESPACES.match(address)]


class Document:
    """What the HTML or SVG ``text`` defines and needs.

    ``ids`` and ``names`` it can be linked by, ``links`` that a reader may follow, ``loads`` that lie beside it,
    ``remote``: what it loads from elsewhere, ``unsafe``: links that do something, ``active``: elements and attributes
    that run code or bring other documents, ``images`` (address, text alternative or None), and ``text``, the words.
    """

    def __init__(self, text: str, depth: int = 0) -> None:
        self.ids: list[str] = []
        self.names: list[str] = []
        self.links: dict[str, None] = {}
        self.loads: dict[str, None] = {}
        self.remote: dict[str, None] = {}
        self.unsafe: dict[str, None] = {}
        self.active: dict[str, None] = {}
        self.images: list[tuple[str, str | None]] = []
        self._words: list[str] = []
        self._depth = depth
        self._read(text)

    @property
    def text(self) -> str:
        return html.unescape(" ".join(self._words))

    def _read(self, text: str) -> None:
        place, lower = 0, text.lower()
        absent: set[str] = set()  # ends that do not come any more
        while match := _TAG.search(text, place):
            self._words.append(text[place : match.start()])
            place = match.end()
            if match[3] == "!--":
                short = re.compile(r"-?>").match(text, place)
                ends = [] if short else [lower.find(end, place) for end in ("-->", "--!>") if end not in absent]
                absent |= {end for end, at in zip(("-->", "--!>"), ends) if at < 0} if len(ends) == 2 else set()
                ends = [at for at in ends if at >= 0]
                place = short.end() if short else min(ends) + 3 if ends else len(text)
                continue
            if match[3]:
                if match[3] in "!?" and text.startswith("[CDATA[", place):  # markup in HTML, text in SVG: suspicious
                    continue
                if match[3] == "?" and text.startswith("xml-stylesheet", place):
                    sheet = re.search(r"href\s{0,9}=\s{0,9}[\"']?([^\"'<>]*+)", text[place : place + 1000])
                    self._remote(html.unescape(sheet[1]) if sheet else "", "xml-stylesheet")
                if match[3] != "/" or text[place : place + 1].strip():
                    end = text.find(">", place)
                    place = end + 1 if end >= 0 else place
                    if end < 0:
                        break
                continue
            name, attributes = match[2].lower(), []
            while found := _ATTRIBUTE.match(text, place):
                place = found.end()
                if found[1]:
                    break
                value = next((part for part in found.groups()[2:] if part is not None), "")
                attributes.append((found[2].lower(), html.unescape(value)))
            if match[1]:
                continue
            self._tag(name.rpartition(":")[2] if ":" in name else name, attributes)
            if name in RAW and f"</{name}" not in absent:
                end = lower.find(f"</{name}", place)
                absent |= {f"</{name}"} if end < 0 else set()
                inside = text[place : end if end >= 0 else len(text)]
                if name in ("script", "style"):
                    place = end if end >= 0 else len(text)
                    self._inside(name, attributes, inside)
        self._words.append(text[place:])

    def _inside(self, name: str, attributes: list[tuple[str, str]], text: str) -> None:
        if name == "style":
            self._from(style_loads(text), "style")
        elif not self._is_data(attributes):
            self._from(script_loads(text, strict=True), "script")

    @staticmethod
    def _is_data(attributes: list[tuple[str, str]]) -> bool:
        kinds = [value.strip() for key, value in attributes if key == "type"]
        return len(kinds) == 1 and bool(DATA.fullmatch(kinds[0])) and not any(key == "src" for key, _ in attributes)

    def _from(self, addresses: list[str], what: str) -> None:
        self.remote.update(dict.fromkeys(f"{address} ({what})" for address in addresses))

    def _tag(self, name: str, attributes: list[tuple[str, str]]) -> None:
        given = dict(reversed(attributes))  # a browser takes the first of each
        self.ids += [given["id"]] if given.get("id") else []
        self.names += [given["name"]] if given.get("name") and name == "a" else []
        if name in ACTIVE and not (name == "script" and self._is_data(attributes)):
            self.active[f"<{name}>"] = None
        if name in ("img", "image", "input") and (name == "img" or given.get("type", "").lower() == "image"):
            self.images.append((given.get("src", ""), given.get("alt")))
        relations = set(given.get("rel", "").lower().split())
        for key, value in attributes:
            if re.match(r"on[a-z]", key):
                self.active[f"{key}="] = None
            elif key == "srcdoc" and self._depth < 3:
                self._within(Document(value, self._depth + 1))
            elif key in ("href", "xlink:href") and name in ("a", "area"):
                self._link(value)
            elif key == "href" and name == "link" and relations and relations <= QUIET:
                continue
            elif key == "data" and name != "object":
                continue
            elif key in LOADS or key in LISTS:
                self._load(name, key, value)
            elif name in ("animate", "set", "animatetransform", "animatemotion") and key in ANIMATED:
                for part in value.split(";"):
                    self._remote(part, f"{name} {key}")
                    self._check(part)
            elif name in ("param", "meta") and key in ("value", "content"):
                self._parameter(name, given, value)
            else:
                self._from(style_loads(value) if re.search(r"url|image|import|\\", value, re.I) else [], key)

    def _load(self, name: str, key: str, value: str) -> None:
        if key in ("srcset", "imagesrcset"):  # one with commas of its own, as data have, is looked at as a whole
            addresses = [part.split()[0] for part in re.split(r",(?=\s)|(?<=\s),", value) if part.split()]
            addresses = [re.sub(r"^,+|,+$", "", address) for address in addresses]
            addresses += re.findall(r"(?:^|[\s,])((?:https?|wss?|ftp):[\\/]{2}[^\s,]++)", value, re.I)
            addresses += [match[0] for match in _ABSOLUTE.finditer(value)] if "data:" not in value.lower() else []
        else:
            addresses = value.split() if key in LISTS else [value]
        for address in filter(None, addresses):
            framed = name in ("iframe", "frame", "object", "embed", "use", "script", "base", "link", "form", "button")
            if elsewhere(address) or (framed and _bare(address).lower().startswith(("data:", "blob:"))):
                self._remote(address, f"{name} {key}", force=True)
            elif key not in ("profile", "codebase", "classid") and not _bare(address).lower().startswith("data:"):
                self.loads[_bare(address)] = None

    def _remote(self, address: str, what: str, force: bool = False) -> None:
        if force or elsewhere(address):
            self.remote[f"{_bare(address)[:200]} ({what})"] = None

    def _link(self, value: str) -> None:
        self.links[value.strip()] = None
        self._check(value)

    def _check(self, value: str) -> None:
        if unsafe_link(value):
            self.unsafe[_bare(value)[:80]] = None

    def _parameter(self, name: str, given: dict[str, str], value: str) -> None:
        if name == "meta":
            if given.get("http-equiv", "").strip().lower() == "refresh":
                match = re.match(r"[\s\d.]*+[;,]?+\s*+(?:url\s*+=)?+\s*+[\"']?+(.*)", value, re.I | re.S)
                address = match[1].rstrip("\"' ")
                self._remote(address, "meta refresh")
                if address and not elsewhere(address):
                    self.links[address] = None
                self._check(address)
        elif elsewhere(value):
            self._remote(value, "param")

    def _within(self, other: Document) -> None:
        self.remote.update(other.remote)
        self.unsafe.update(other.unsafe)
        self.active.update(other.active)
        self.loads.update(other.loads)


def markdown_addresses(text: str) -> Iterator[tuple[str, str]]:
    """("image" or "link", address) of all images and links of the Markdown ``text``, which has no code in it.

    >>> list(markdown_addresses('![a](b.png "t") [c ![d][e]](<f g>)\\n\\n[e]: h.png'))
    [('image', 'b.png'), ('image', 'h.png'), ('link', 'f g'), ('link', 'h.png')]
    """
    definitions = {
        " ".join(label.lower().split()): address.strip("<>")
        for label, address in re.findall(r"^[ \t>]*+\[([^\]\n]++)\]:\s*+(<[^>\n]*+>|\S++)", text, re.M)
    }
    opened: list[tuple[bool, int]] = []
    mark = re.compile(r"\\.|(!?)\[|\](?:\(\s*+(?:<([^>\n]*+)>|([^\s)]*+))|\[([^\]\[\n]*+)\])?+", re.S)
    for match in mark.finditer(text):
        if match[0].startswith("\\"):
            continue
        if match[0].endswith("[") and match[1] is not None:
            opened.append((bool(match[1]), match.end()))
            continue
        image, start = opened.pop() if opened else (False, match.start())
        address = match[2] if match[2] is not None else match[3]
        if address is None:
            label = match[4] or text[start : min(match.start(), start + 1000)]
            address = definitions.get(" ".join(label.lower().split())) if label else None
            if not image:
                continue
        if address:
            yield "image" if image else "link", html.unescape(address)
    yield from (("link", html.unescape(address)) for address in definitions.values())
    yield from (("link", address) for address in re.findall(r"<([a-zA-Z][a-zA-Z0-9+.-]{1,31}+:[^\s<>]*+)>", text))
