"""Figures of a bundle as elements of a page: checked, taken apart and written again.

A page allows no style but its own, so a figure's styles become attributes; black becomes the colour of the page's text
and white its paper, so that a figure is readable in the dark; what carries data (gids `run:…`, `row:…`, `curve:…`,
`comparison:…`) gets a title, which a browser shows as a tooltip and the page's script as a better one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from c2o_evidence.errors import EvidenceError
from c2o_evidence.figures.canvas import COLOURS as PALETTE
from c2o_evidence.limits import MAX_TEXT
from c2o_evidence.plain_file import read_plain

Element = ElementTree.Element
Namer = Callable[[str], str]

# What a style may say, as the attributes of the same names; fonts are the page's.
PAINT = frozenset(
    (
        *("fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity", "stroke-linecap"),
        *("stroke-linejoin", "stroke-dasharray", "stroke-dashoffset", "stroke-miterlimit", "opacity", "font-size"),
        *("font-weight", "font-style", "text-anchor", "clip-path"),
    )
)
INK = frozenset(("#000000", "#000", "black"))
PAPER = frozenset(("#ffffff", "#fff", "white"))
COLOURS = tuple(colour.lower() for colour in PALETTE)  # lighter in the dark: report.css
GRID = frozenset(("#dddddd", "#cccccc"))
_REFERENCE = re.compile(r"url\(\s*['\"]?#([^)'\"]+)['\"]?\s*\)")
_DATA = re.compile(r"(run|row|curve|comparison):([\w.-]+)((?::[\w.-]+)*)")


def inline_svg(data: bytes, title: str, prefix: str = "", named: Namer | None = None) -> str:
    """An SVG as an element of a page: without prolog, fixed size, styles or scripts, titled for screen readers.

    Args:
        prefix: what its ids begin with, so that several figures can stand in one page.
        named: what a mark with such a gid is called; default: the gid's parts.

    Raises EvidenceError if it is not a picture that this package can have drawn.
    """
    from c2o_evidence.svg import svg_fault

    source = data.decode("utf-8", "replace")
    start = source.find("<svg")
    body = re.sub(r"<metadata>.*?</metadata>", "", source[start:], flags=re.DOTALL)
    if fault := "it has no <svg>" if start < 0 else svg_fault(body):
        raise EvidenceError(f"figure {title}: is not a plain SVG: {fault}; make the figures again")
    root = ElementTree.fromstring(body)
    _Page(root, prefix, named or _plain_name).write()
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("class", "figure")
    root.set("role", "img")
    root.set("aria-label", title)
    root.set("fill", "currentColor")
    return ElementTree.tostring(root, encoding="unicode").strip()


def read_svg(bundle: Path, name: str, prefix: str = "", named: Namer | None = None) -> str:
    """The figure `name` of a bundle as `inline_svg` gives it. Raises EvidenceError, OSError."""
    data = read_plain(bundle / "figures" / f"{name}.svg", MAX_TEXT)
    return inline_svg(data, name.replace("_", " "), prefix, named)


def _plain_name(gid: str) -> str:
    return gid.partition(":")[2].replace(":", ", ")


class _Page:
    """One drawing on its way into a page."""

    def __init__(self, root: Element, prefix: str, named: Namer) -> None:
        self.root = root
        self.prefix = prefix
        self.named = named
        self.used = {
            name
            for element in root.iter()
            for key, value in element.attrib.items()
            for name in (_REFERENCE.findall(value) + ([value[1:]] if _local(key) == "href" else []))
        }

    def write(self) -> None:
        for parent in list(self.root.iter()):
            for child in list(parent):
                if _local(child.tag) in ("style", "metadata"):
                    parent.remove(child)
        for element in self.root.iter():
            element.tag = _local(element.tag)
            self._rewrite(element)
            if element.tag not in ("text", "tspan", "title") and not (element.text or "").strip():
                element.text = None
            if not (element.tail or "").strip():
                element.tail = None

    def _rewrite(self, element: Element) -> None:
        attributes = {_local(key): value for key, value in element.attrib.items()}
        for part in attributes.pop("style", "").split(";"):
            key, _, value = part.partition(":")
            if key.strip() in PAINT:
                attributes[key.strip()] = value.strip()
        name = attributes.pop("id", "")
        if name in self.used:
            attributes["id"] = self.prefix + name
        elif match := _DATA.fullmatch(name):
            attributes["class"] = f"mark {match[1]}"
            attributes["data-gid"] = name
            title = ElementTree.Element("title")
            title.text = self.named(name)
            element.insert(0, title)
        for key in ("fill", "stroke"):
            if (colour := attributes.get(key, "").lower()) in INK:
                attributes[key] = "currentColor"
            elif colour in PAPER:
                attributes[key] = "none"
            elif colour in COLOURS:
                attributes[key] = f"var(--c{COLOURS.index(colour)})"
            elif colour in GRID:
                attributes[key] = "currentColor"
                attributes["class"] = "grid"
        for key, value in attributes.items():
            attributes[key] = _REFERENCE.sub(lambda match: f"url(#{self.prefix}{match[1]})", value)
        if attributes.get("href", "").startswith("#"):
            attributes["href"] = f"#{self.prefix}{attributes['href'][1:]}"
        if "d" in attributes:
            attributes["d"] = " ".join(attributes["d"].split())
        element.attrib.clear()
        element.attrib.update(attributes)


def _local(name: str) -> str:
    """A name without its namespace: a page needs none."""
    return name.rpartition("}")[2]
