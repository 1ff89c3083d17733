"""The documentation site: builds strictly, every link of it leads somewhere, no page asks for anything off the site."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt

from c2o_evidence.commands import COMMANDS
from c2o_evidence.schemas import SCHEMA_DIR, load_schema
from c2o_model.keys import KEYS

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest.importorskip("mkdocs", reason="MkDocs is not installed (make extras)")

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
# What a browser fetches by itself. `a` and `link rel=canonical` and the like wait for a click, or for nobody.
FETCHED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src"), ("use", "href")}
STRUCTURE = frozenset(["ul", "ol", "li", "pre", "table", "tr", "h1", "h2", "h3", "h4", "blockquote", "img"])


class Page(HTMLParser):
    """Links, fetched addresses, anchors, and how often each element of STRUCTURE is there."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.elements: Counter[str] = Counter()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += tag in STRUCTURE
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if (tag, name) == ("a", "href") and value is not None:
                self.links.append(value)
            if (tag, name) in FETCHED and value is not None:
                self.fetched.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site, as `make docs` builds it but in another place."""
    place = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    environ = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT), "no_proxy": "*"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return place


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    """Every page by its path; the page for missing ones, whose links begin at the root of a server, is left out."""
    found = {path.relative_to(site).as_posix(): path for path in sorted(site.rglob("*.html"))}
    return {name: Page(path.read_text(encoding="utf-8")) for name, path in found.items() if name != "404.html"}


def test_the_makefile_builds_it_strictly() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"(?m)^docs: extras .*\n.*mkdocs build --strict$", makefile), "--quiet would hide the warnings"


def test_every_link_leads_somewhere(site: Path, pages: dict[str, Page]) -> None:
    checked = 0
    for name, page in pages.items():
        for link in [*page.links, *page.fetched]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (site / name).parent / unquote(parts.path) if parts.path else site / name
            target = target.resolve() / "index.html" if target.is_dir() else target.resolve()
            assert target.is_file() and target.is_relative_to(site), f"{name}: {link}"
            if parts.fragment and target.suffix == ".html":
                anchors = pages[target.relative_to(site).as_posix()].anchors
                assert unquote(parts.fragment) in anchors, f"{name}: {link}: no such heading"
            checked += 1
    assert checked > 20 * len(pages)


def test_nothing_is_asked_for_off_the_site(site: Path, pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        assert page.fetched, name
        away = [address for address in page.fetched if urlsplit(address).scheme or urlsplit(address).netloc]
        assert away == [], f"{name}: {away}"
        # The theme's program would fetch a renderer from elsewhere for the first, and count stars for the second.
        text = (site / name).read_text(encoding="utf-8")
        assert 'class="mermaid"' not in text and 'data-md-component="source"' not in text, name
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import\s+)['\"]?(?:https?:)?//", sheet.read_text(encoding="utf-8")) == [], (
            sheet.name
        )


def test_a_page_is_the_same_on_the_site_and_where_the_repository_is_read(site: Path) -> None:
    """Python-Markdown and CommonMark differ in lists and code inside lists: what is one in one must be in the other."""
    assert len(PAGES) > 20
    for source in PAGES:
        built = (site / f"{source.stem}.html").read_text(encoding="utf-8")
        article = built[built.index("<article") : built.index("</article>")]
        plain = MarkdownIt("commonmark").enable("table").render(source.read_text(encoding="utf-8"))
        assert Page(article).elements == Page(plain).elements, source.name


def test_the_search_works_for_a_page_that_is_opened_as_a_file(site: Path, browser: Browser) -> None:
    """In a browser: no request off the site, no error, and a word is found."""
    asked: list[str] = []
    wrong: list[str] = []
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    page.goto((site / "reference" / "suite.html").as_uri())
    page.locator(".md-search__input").click()
    page.keyboard.type("wilcoxon", delay=20)
    page.wait_for_selector(".md-search-result__item a[href*='statistics.html']", state="attached", timeout=60_000)
    page.close()
    assert wrong == []
    assert len(asked) > 5 and [url for url in asked if not url.startswith(site.as_uri())] == []


class TestReference:
    """The generated pages have what the code has."""

    def text(self, site: Path, name: str) -> str:
        return (site / "reference" / name).read_text(encoding="utf-8")

    def test_commands(self, site: Path) -> None:
        text = self.text(site, "commands.html")
        for name in COMMANDS:
            assert f'id="c2o-{name}"' in text and f"usage: c2o {name} " in text, name

    def test_model_keys(self, site: Path) -> None:
        text = self.text(site, "model.html")
        assert [key.name for key in KEYS if text.count(f"<code>{key.name}</code>") != 1] == []

    def test_columns_of_every_table(self, site: Path) -> None:
        text = self.text(site, "tables.html")
        for path in SCHEMA_DIR.glob("*.schema.json"):
            name = path.name.removesuffix(".schema.json")
            if "x-key" in load_schema(name):
                for column in load_schema(name)["properties"]:
                    assert f"<code>{column}</code>" in text, f"{name}: {column}"

    def test_suite_keys(self, site: Path) -> None:
        text, schema = self.text(site, "suite.html"), load_schema("suite")
        nested = [schema["$defs"][name]["properties"] for name in ("experiment", "row", "arm", "tolerance", "main_row")]
        for key in [*schema["properties"], *(key for keys in nested for key in keys)]:
            assert f"<code>{key}</code>" in text, key
