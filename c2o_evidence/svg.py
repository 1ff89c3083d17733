"""Whether an SVG is a picture and nothing else: what Matplotlib draws with, and no reference to anything outside."""

from __future__ import annotations

import re
from xml.etree import ElementTree

ELEMENTS = frozenset(
    (
        *("svg", "g", "defs", "style", "path", "use", "rect", "circle", "line", "polyline", "polygon", "clipPath"),
        *("text", "tspan", "title", "desc", "image", "symbol", "linearGradient", "stop", "pattern"),
    )
)
_SVG = "{http://www.w3.org/2000/svg}"
_HREF = re.compile(r"#[\w.-]+|data:image/png;base64,[A-Za-z0-9+/=\s]*")
_CSS = re.compile(r"@|\\|expression|url\s*\((?!\s*['\"]?#)", re.IGNORECASE)


def svg_fault(source: str) -> str | None:
    """What an SVG element has that no picture needs, or None.

    Refused are scripts, handlers, foreign elements, links, styles that load something, and anything that declares
    entities.
    """
    # A page ends a comment at `<!-->` where XML does not: what is hidden in one here would be shown there.
    if re.search(r"<!(?!-- (?:(?!--)[^<>])*-->)|<\?", source):
        return "it has a declaration, or a comment that is not plain text"
    try:
        root = ElementTree.fromstring(source)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        return f"it is not XML ({error})"
    for element in root.iter():
        if not isinstance(element.tag, str) or element.tag.removeprefix(_SVG) not in ELEMENTS:
            return f"it has the element {str(element.tag)[:60]!r}"
        if element.tag.removeprefix(_SVG) == "style" and _CSS.search(element.text or ""):
            return "it has a style that loads something"
        for name, value in element.attrib.items():
            plain = name.rpartition("}")[2].lower()
            if plain.startswith("on") or (plain == "href" and not _HREF.fullmatch(value)):
                return f"it has the attribute {plain[:60]!r}"
            if _CSS.search(value):
                return f"it has the attribute {plain[:60]!r} that loads something"
    return None
