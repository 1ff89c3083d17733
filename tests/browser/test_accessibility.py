"""axe-core finds no serious or critical fault, in the light and in the dark, with all unfolded and evidence open."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

Visits = Callable[..., Any]


def axe_source() -> str:
    """axe-core, as the package axe-playwright-python carries it."""
    spec = find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        pytest.skip("no axe-core for a browser here (make extras)")
    return (Path(spec.origin).parent / "axe.min.js").read_text("utf-8")


def faults(page: Any, part: str = "html", **options: Any) -> list[str]:
    """Serious and critical faults of a part of a page as it is now, a line each. `options`: of axe.run."""
    script = "async ([part, options]) => (await axe.run(part, {resultTypes: ['violations'], ...options})).violations"
    found = page.evaluate(script, [part, options])
    return [
        f"{item['id']}: {item['help']}: {item['nodes'][0]['html'][:200]}"
        for item in found
        if item["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_fault(visit: Visits, report: Path, scheme: str) -> None:
    # The page's policy admits no script but its own: only for axe it is lifted.
    page = visit(report, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce").page
    page.add_script_tag(content=axe_source())
    page.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true; })")
    # Nothing but colours is other in the dark.
    only = {"runOnly": ["color-contrast", "link-in-text-block"]} if scheme == "dark" else {}
    assert faults(page, **only) == []
    page.locator("a.num").first.click()
    assert page.locator("dialog[open]").count() == 1
    assert faults(page, "dialog", **only) == []


def test_no_serious_fault_in_the_page_of_all_results(visit: Visits, whole: Path) -> None:
    page = visit(whole, bypass_csp=True).page  # its suites, folded here, have the parts above
    page.add_script_tag(content=axe_source())
    assert faults(page) == []


def test_axe_would_find_one(visit: Visits, report: Path) -> None:
    page = visit(report, bypass_csp=True).page
    page.add_script_tag(content=axe_source())
    page.evaluate("document.querySelector('main').innerHTML += '<img src=\"data:,\"><p></p>'")
    assert [line.split(":")[0] for line in faults(page, "main > :nth-last-child(2)")] == ["image-alt"]
