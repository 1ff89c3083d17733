"""The section `gallery` of a suite: which pictures go into its results and its bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from c2o_evidence.digests import json_digest
from c2o_evidence.schemas import Fault, did_you_mean

if TYPE_CHECKING:
    from c2o_evidence.suite import Suite


@dataclass(frozen=True)
class GallerySpec:
    """Rows whose detections are shown (the first one's denoising, the last one's attention), and how many pictures."""

    rows: tuple[str, ...]
    images: int

    @classmethod
    def of(cls, section: Mapping[str, Any] | None) -> GallerySpec | None:
        """From the section as the suite file has it; None where there is none."""
        return cls(tuple(section["rows"]), int(section["images"])) if section else None

    @property
    def files(self) -> tuple[str, ...]:
        """The files of the gallery, relative to `gallery`, record and all."""
        return ("gallery.json", "record.json", *(f"images/{number}.png" for number in range(self.images)))


def gallery_faults(document: Mapping[str, Any], data_config: Mapping[str, Any]) -> list[Fault]:
    """What the schema cannot say about `gallery`. Pictures are counted where the data configuration says how many."""
    section = document.get("gallery")
    if not section:
        return []
    known = [row["exp_id"] for row in document.get("rows", ())]
    faults = [
        Fault(("gallery", "rows", index), f"{name!r} is not a row; {did_you_mean(name, known)}")
        for index, name in enumerate(section["rows"])
        if name not in known
    ]
    scenes = data_config.get("scenes")
    there = scenes.get("val") if isinstance(scenes, Mapping) else None
    if isinstance(there, int) and section["images"] > there:
        what = f"{section['images']} is more than the {there} images of val; ask for {there} or fewer"
        faults.append(Fault(("gallery", "images"), what))
    return faults


def gallery_checkpoints(suite: Suite) -> list[tuple[str, int]]:
    """(experiment, train seed) of the checkpoints that the gallery is made with, each once: of the first train seed."""
    rows = [suite.row(name) for name in suite.gallery.rows] if suite.gallery is not None else []
    return list(dict.fromkeys((row.experiment, suite.seed_of(row.experiment, suite.train_seeds[0])) for row in rows))


def gallery_digest(suite: Suite, code_sha256: str) -> str:
    """See `Suite.gallery_digest`."""
    spec, rows = suite.gallery, []
    for name in spec.rows if spec is not None else ():
        row = suite.row(name)
        recipe = suite.recipe(row.experiment, suite.train_seeds[0]).digest
        rows.append([row.exp_id, row.sample_step, dict(row.opts), recipe])
    shown = {"kind": "gallery", "rows": rows, "images": spec.images if spec is not None else 0}
    return json_digest(shown | {"eval_seeds": list(suite.eval_seeds), "code": code_sha256})
