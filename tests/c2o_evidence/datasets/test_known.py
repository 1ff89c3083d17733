"""The table of facts: the same places, classes and rules as the package that reads the sets, and facts that agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from c2o_evidence.datasets import check, coco_file, voc_files
from c2o_evidence.datasets.kinds import Split
from c2o_evidence.datasets.known import DATASETS
from c2o_model.data import objects365, repro10k
from c2o_model.data.public_sets import PUBLIC, VOC_CLASSES

SPLITS: dict[str, Split] = {split.name: split for family in DATASETS.values() for split in family.splits}


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_places_are_those_that_the_set_is_read_from(name: str) -> None:
    split, place = SPLITS[name], PUBLIC[name]
    assert (split.annotation, split.images, split.more) == (place.annotation, place.images, place.more)


def test_nothing_but_coco_is_known_here_alone() -> None:
    assert set(SPLITS) - set(PUBLIC) == {"coco_2017_train", "coco_2017_val"}


def test_coco_lies_where_detectron2_looks() -> None:
    builtin = pytest.importorskip("detectron2.data.datasets.builtin")
    for name in ("coco_2017_train", "coco_2017_val"):
        images, annotation = builtin._PREDEFINED_SPLITS_COCO["coco"][name]
        assert (SPLITS[name].images, SPLITS[name].annotation) == (images, annotation)


def test_rules_are_those_of_the_converters() -> None:
    assert SPLITS["objects365_train"].never_published == objects365.NEVER_PUBLISHED
    assert frozenset(VOC_CLASSES) == voc_files.CLASSES
    assert coco_file.DRAWN == repro10k.CLASSES and check.DRAWN_IMAGES == repro10k.IMAGES
    assert SPLITS["repro10k_val"].sha256 == SPLITS["coco_2017_val"].sha256


@pytest.mark.parametrize("year", ["2007", "2012"])
def test_voc_is_train_and_val(year: str) -> None:
    train, val, both = (SPLITS[f"voc_{year}_{name}"] for name in ("train", "val", "trainval"))
    assert both.image_count == (train.image_count or 0) + (val.image_count or 0)
    assert both.plain_boxes == (train.plain_boxes or 0) + (val.plain_boxes or 0)


def test_facts_are_well_formed() -> None:
    digests = [archive.sha256 for family in DATASETS.values() for archive in family.archives]
    for digest in (*digests, *(split.sha256 for split in SPLITS.values())):
        assert re.fullmatch(r"([0-9a-f]{64})?", digest)
    for family in DATASETS.values():
        assert family.title and family.site and family.terms and family.archives
        for split in family.splits:
            names = " ".join(archive.name for archive in family.archives)
            for source in re.findall(
                r"[\w.-]+\.(?:zip|tar|odgt|json|tar\.gz)\b", f"{split.annotation_from} {split.images_from}"
            ):
                assert source in names, source


def test_a_file_that_is_its_own_archive_has_one_digest() -> None:
    for family in DATASETS.values():
        alone = {archive.gives: archive for archive in family.archives if archive.name == Path(archive.gives).name}
        for split in family.splits:
            if split.annotation in alone:
                assert (split.sha256, split.size) == (alone[split.annotation].sha256, alone[split.annotation].size)
