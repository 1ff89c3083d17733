"""Templates of `c2o_evidence/templates`, and a page's one style and one script, which it names by their digests."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator
from functools import cache
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

from c2o_evidence import __version__
from c2o_evidence.digests import sha256_bytes
from c2o_evidence.tables import text

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    import jinja2
    from markupsafe import Markup

WORDS = ("report", "tables/text.py", "tables/compare.py", "stats.py", "svg.py", "templates")


def read_template(name: str) -> str:
    """The text of a file below `c2o_evidence/templates`."""
    return resources.files("c2o_evidence").joinpath("templates", *name.split("/")).read_text("utf-8")


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    def escaped(name: str | None) -> bool:
        return name is not None and name.endswith(".html.j2")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(read_template),
        autoescape=escaped,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": text.number, "key": _key}
    return environment


def _key(value: float) -> str:
    """What a cell is sorted by; nothing where it is undefined."""
    return "" if math.isnan(value) else f"{value:.6g}"


def render_template(template_name: str, **values: Any) -> str:
    """A template of the package, filled in; what goes into an `.html.j2` is escaped."""
    return _environment().get_template(template_name).render(**values)


def own_text(name: str) -> tuple[Markup, str]:
    """A style or script of this package as it stands in a page, and its digest as a Content-Security-Policy has it."""
    from markupsafe import Markup

    source = read_template(name)
    digest = base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii")
    return Markup(source), f"sha256-{digest}"  # noqa: S704  a file of this package


def render_page(template_name: str, **values: Any) -> str:
    """A whole page: as `render_template`, with style, script and their digests beside the values."""
    style, style_digest = own_text("report/report.css")
    script, script_digest = own_text("report/report.js")
    return render_template(
        template_name,
        style=style,
        script=script,
        style_digest=style_digest,
        script_digest=script_digest,
        generator=generator(),
        **values,
    )


def _sources() -> Iterator[Traversable]:
    package = resources.files("c2o_evidence")
    for name in WORDS:
        yield from _below(package.joinpath(*name.split("/")))
    yield from sorted((item for item in package.iterdir() if item.name.startswith("crate")), key=lambda item: item.name)


def _below(place: Traversable) -> Iterator[Traversable]:
    if place.is_file():
        yield place
    elif place.is_dir() and place.name != "__pycache__":
        for item in sorted(place.iterdir(), key=lambda item: item.name):
            yield from _below(item)


@cache
def texts_digest() -> str:
    """Digest of what decides the words of the files that only a bundle has (report, README, verify.py, RO-Crate
    metadata): where it is equal, they can be compared as text.
    """
    library = metadata.version("rocrate").encode()
    return sha256_bytes(b"".join(part.read_bytes() for part in _sources()) + library)


def generator() -> str:
    """What wrote a bundle, as its page says it."""
    return f"c2o_evidence {__version__}, texts {texts_digest()[:12]}"
