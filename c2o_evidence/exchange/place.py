"""What is exported: a bundle, every file of which was just hashed, or the results of a suite without one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import c2o_evidence
from c2o_evidence.errors import EvidenceError
from c2o_evidence.publish.source import Source, read_source
from c2o_evidence.suite import load_suite
from c2o_evidence.sums import SUMS_NAME
from c2o_evidence.verify.files import walk


@dataclass(frozen=True)
class Place:
    """A directory with the layout of `results/SUITE`.

    Attributes:
        name: the suite.
        base: the directory.
        source: the bundle that it is, verified at level files; None for results that are not staged.
        truth: the annotation file that its detections were evaluated on.
    """

    name: str
    base: Path
    source: Source | None
    truth: Path

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the numbers come from, without anything of this machine."""
        root = self.source.root_digest if self.source is not None else None
        return {"suite": self.name, "root_sha256": root, "c2o_version": c2o_evidence.__version__}

    def files(self) -> Iterator[str]:
        """Paths of all files, relative to `base`, sorted."""
        if self.source is not None:
            yield from sorted(self.source.digests)
            return
        yield from sorted(path for path in walk(self.base).files if not path.startswith("bundle/"))


def find_place(what: str, root: Path) -> Place:
    """The place that a user names: a path, or a suite, whose deliverable goes before its results.

    Raises:
        DigestError: a bundle does not verify.
        EvidenceError: there is no such place, or nothing in it to export.
    """
    given = Path(what)
    named = [root / "deliverables" / what, root / "results" / what] if "/" not in what else []
    choices = [folder for folder in named if folder.is_dir()] or [given]
    for folder in choices:
        for bundle in (folder, folder / "bundle"):
            if (bundle / SUMS_NAME).is_file():
                source = read_source(bundle)
                return Place(source.suite.name, bundle, source, bundle / "data" / "val.json")
        if (folder / "tables").is_dir() or (folder / "eval").is_dir():
            suite = load_suite(folder.resolve().name, root)
            return Place(suite.name, folder, None, root / "data" / suite.data_name / "val.json")
    if given.is_dir():
        raise EvidenceError(f"{what}: has no {SUMS_NAME}, tables/ or eval/, so nothing to export; name a bundle")
    raise EvidenceError(
        f"{what}: is not in deliverables/ or results/, and no directory; name a suite that was run, or a bundle's path"
    )
