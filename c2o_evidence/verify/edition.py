"""Of which edition a bundle is (c2o_evidence.extent): what it should hold must not depend on what it does hold.

A bundle is of the first edition only if nothing in it speaks of a later one: no file, nothing that its record of the
tables has read or written, and neither sources nor words of the version that verifies it now. What decided its tables
says the edition too, which verify.plan compares. So one of a later edition that lacks a file is found, unless it was
changed in all of this: then it is what the version of that edition would have made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import c2o_evidence
from c2o_evidence.bundle import figure_files, table_files
from c2o_evidence.code import code_digest
from c2o_evidence.errors import EvidenceError
from c2o_evidence.extent import EDITION, Extent, extent_of
from c2o_evidence.records import Record
from c2o_evidence.suite import Suite

FIRST = Extent(1)


def edition_of(suite: Suite, listed: Iterable[str], record: Record | None, *, written_here: bool) -> int:
    """The edition of a bundle.

    Args:
        listed: its files. record: that of its tables, if it can be read. written_here: whether the page was written by
            the version that verifies it.
    """
    newer = set(_files(suite, Extent(EDITION, ap_curves=True))) - set(_files(suite, FIRST))
    if written_here or newer.intersection(listed):
        return EDITION
    if record is None:
        return 1
    read = {file.path for file in record.materials}
    wrote = {file.path for file in record.products}
    if wrote & newer or any(path.endswith("/detections.safetensors") for path in read):
        return EDITION
    return EDITION if record.code_sha256 == _own_code() else 1


def bundle_extent(
    root: Path, suite: Suite, listed: Collection[str], record: Record | None, *, written_here: bool
) -> Extent:
    """The extent of a bundle; see `edition_of`."""
    return extent_of(root, suite, listed, edition=edition_of(suite, listed, record, written_here=written_here))


def _files(suite: Suite, extent: Extent) -> list[str]:
    tables = [f"tables/{name}" for name in table_files(extent)]
    return tables + [f"figures/{name}" for name in figure_files(suite, extent)]


def _own_code() -> str:
    """Digest of the sources here that make tables."""
    try:
        return code_digest(Path(c2o_evidence.__file__).parent.parent, "tables")
    except EvidenceError:
        return ""
