"""Pictures of a report for the README, and how large it is and how long a browser takes to load it.

    python -m tests.browser.screenshots deliverables/step1_5seed/report.html            writes docs/images/report-*.png
    python -m tests.browser.screenshots deliverables/step1_5seed/report.html --measure  only prints size and times

Times are medians of five loads, each in a new context.
"""

import argparse
import io
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.browser.chromium import started

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LOADS = 5
MOST = 300_000  # bytes of a picture


def small(png: bytes) -> bytes:
    """A screenshot as a PNG of at most MOST bytes: with a palette, smaller where that is not enough."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    while True:
        for version in (picture, picture.quantize(256, dither=Image.Dither.NONE)):
            out = io.BytesIO()
            version.save(out, "PNG", optimize=True)
            if out.tell() <= MOST:
                return out.getvalue()
        picture = picture.resize((picture.width * 4 // 5, picture.height * 4 // 5), Image.Resampling.LANCZOS)


def shoot(browser: "Browser", page_path: Path, out: Path) -> list[Path]:
    """Every picture of a page; the paths written."""
    views: dict[str, tuple[dict[str, Any], str]] = {
        "report-light": ({"viewport": {"width": 1100, "height": 1250}}, ""),
        "report-dark": ({"viewport": {"width": 1100, "height": 1000}, "color_scheme": "dark"}, "#arms"),
        "report-phone": ({"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2}, ""),
        "report-evidence": ({"viewport": {"width": 1100, "height": 800}}, "evidence"),
        "report-gallery": ({"viewport": {"width": 1100, "height": 1000}}, "#gallery"),
        "report-steps": ({"viewport": {"width": 1100, "height": 760}}, ".film"),
    }
    written = []
    for name, (options, place) in views.items():
        context = browser.new_context(reduced_motion="reduce", **options)
        page = context.new_page()
        page.goto(page_path.as_uri())
        if place == "evidence":
            numbers = page.locator("#results tbody a.num")
            numbers.nth(min(4, numbers.count() - 1)).click()
        elif place and page.locator(place).count():
            page.evaluate("place => document.querySelector(place).scrollIntoView({block: 'start'})", place)
            page.evaluate("scrollBy(0, -160)") if place.startswith(".") else None
        elif place:
            context.close()
            continue
        path = out / f"{name}.png"
        path.write_bytes(small(page.screenshot()))
        written.append(path)
        context.close()
    return written


def measure(browser: "Browser", page_path: Path) -> tuple[float, float]:
    """Median milliseconds until DOMContentLoaded and until load."""
    times = []
    for _ in range(LOADS):
        context = browser.new_context(viewport={"width": 1200, "height": 800})
        page = context.new_page()
        page.goto(page_path.as_uri(), wait_until="load")
        times.append(
            page.evaluate(
                "() => { const t = performance.getEntriesByType('navigation')[0];"
                " return [t.domContentLoadedEventEnd, t.loadEventStart]; }"
            )
        )
        context.close()
    return statistics.median(time[0] for time in times), statistics.median(time[1] for time in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--measure", action="store_true")
    arguments = parser.parse_args()
    page = arguments.page.resolve()
    with started() as browser:
        content, load = measure(browser, page)
        size = page.stat().st_size
        print(f"{size} bytes; median of {LOADS}: DOMContentLoaded {content:.0f} ms, load {load:.0f} ms")
        if not arguments.measure:
            arguments.out.mkdir(parents=True, exist_ok=True)
            for path in shoot(browser, page, arguments.out):
                print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
