"""The pages that the tests look at, with the browser of tests/conftest.py. Nothing is trained for them."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.drills.sandbox import honest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@dataclass
class Visit:
    """A page that was opened, and what went on: requests off the page, errors, refusals of the policy."""

    page: "Page"
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def assert_quiet(self) -> None:
        assert self.requests == [] and self.errors == []


@pytest.fixture
def visit(browser: "Browser") -> Iterator[Callable[..., Visit]]:
    """Opens a file in a context of its own (options are the context's); at the end nothing may have gone wrong."""
    visits: list[Visit] = []

    def open_page(path: Path, *, anchor: str = "", **options: Any) -> Visit:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **options})
        page = context.new_page()
        found = Visit(page)
        address = path.as_uri()

        def answer(route: Any) -> None:
            url = route.request.url.partition("#")[0]
            if url == address or url.startswith("data:"):
                route.continue_()
            else:
                found.requests.append(url)
                route.abort()

        page.route("**/*", answer)
        page.on("console", lambda message: found.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: found.errors.append(str(error)))
        page.goto(address + anchor)
        visits.append(found)
        return found

    yield open_page
    for item in visits:
        item.page.context.close()
    for item in visits:
        item.assert_quiet()


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a gallery and its page. Not to be changed."""
    return Path(shutil.copytree(honest(), tmp_path_factory.mktemp("report") / "deliverables" / "toy"))


@pytest.fixture(scope="session")
def report(bundle: Path) -> Path:
    """The page of `bundle`."""
    return bundle / "report.html"


@contextmanager
def checkout(place: Path, bundle: Path) -> Iterator[Path]:
    """A directory with two deliverables, one of them with another name."""
    for name in ("toy", "other"):
        copy = Path(shutil.copytree(bundle, place / "deliverables" / name))
        suite = copy / "suite.yaml"
        suite.write_text(suite.read_text().replace("name: toy\n", f"name: {name}\n", 1))
    yield place


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Path:
    """The page of `c2o report` over two deliverables."""
    from c2o_evidence import cli

    with checkout(tmp_path_factory.mktemp("whole"), bundle) as root:
        out = root / "everything.html"
        assert cli.main(["--root", str(root), "report", "-o", str(out)]) == 0
    return out
