"""What MkDocs calls while it builds the site: writes the reference pages, takes in the figures of published results.

Pages name figures as they lie in the repository (`../manifests/reference/…/x.svg`), so that they also work where the
repository is read; a figure is copied into the site under the same name, and the page's link is turned towards it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from mkdocs.structure.files import File, Files  # noqa: E402

from docs.generate import commands, model_keys, schemas  # noqa: E402

PAGES = {
    "reference/commands.md": commands.page,
    "reference/suite.md": schemas.suite_page,
    "reference/model.md": model_keys.page,
    "reference/data.md": schemas.data_page,
    "reference/tables.md": schemas.tables_page,
}
OUTSIDE = re.compile(r"(?<=\]\()\.\./(manifests/[^)#\s]+\.(?:svg|png))(?=\))")


def on_files(files: Files, config: Any, **_: object) -> Files:
    """Add what is not below docs/."""
    for name, page in PAGES.items():
        files.append(File.generated(config, name, content=page(ROOT)))
    wanted = set()
    for path in Path(config.docs_dir).glob("*.md"):
        wanted |= set(OUTSIDE.findall(path.read_text(encoding="utf-8")))
    for name in sorted(wanted):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_post_page(output: str, **_: object) -> str:
    """Give the search a name, for who hears the page."""
    return output.replace('role="dialog"', 'role="dialog" aria-label="Search"')


def on_page_markdown(markdown: str, **_: object) -> str:
    """Turn links to figures outside docs/ towards their copies."""
    return OUTSIDE.sub(r"\1", markdown)
