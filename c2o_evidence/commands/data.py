"""`c2o data`: what may be typed, handed to c2o_evidence.datasets.command."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "public data sets: is a copy whole, what would it take"
HELP = """\
Looks after COCO 2017, LVIS v1, PASCAL VOC 2007 and 2012, CrowdHuman, Objects365 v2, Repro-10k and the sets named in
EXTRA_COCO_DATASETS, below $DETECTRON2_DATASETS (default: datasets). Nothing is downloaded, nothing is changed.

examples:
  c2o data list                       the names, and which sets are there
  c2o data plan objects365            disk, downloads with sizes and digests, times, what to put where
  c2o data check coco                 layout, digest of the annotation files, numbers of images and boxes, every image
                                      file there, and a sample of 50 pictures of each split decoded
  c2o data check coco_2017_val        one split
  c2o data check voc_2007 --all       every picture is decoded
  c2o data check crowdhuman --json    for machines

Exit code: 0 the set holds, 1 it has a fault, 2 bad use or it is not there."""

CHECK = """\
Checks a copy of a set: layout; size and SHA-256 of the annotation files where they are public; every record of them;
numbers of images, boxes and classes against the published ones; every image file there; a sample of pictures decoded
and their size compared. Annotation files are read a record at a time, so that memory stays small: about 500 bytes an
image, so 1 GB for Objects365 and 60 MB for COCO. What no public source states is said and not checked.

  c2o data check objects365_train --images 500 --seed 1      another, larger sample
  c2o data check objects365_train --all                      every picture; after Ctrl-C it says how to go on"""

PLAN = """\
Says what a set takes before anything is downloaded: files with sizes and digests, disk, times, what to put where, and
which configurations of this checkout use it."""


def count(text: str) -> int:
    """A number as it is typed, 0 or more; argparse names this function where the text is no number."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative; give 0 or more")
    return number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest="action", metavar="list|check|plan", required=True)
    raw = argparse.RawDescriptionHelpFormatter
    listing = what.add_parser("list", help="the names, and which sets are there")
    check = what.add_parser("check", help="is a copy whole", description=CHECK, formatter_class=raw)
    plan = what.add_parser("plan", help="what a set takes", description=PLAN, formatter_class=raw)
    for command in (check, plan):
        command.add_argument("name", metavar="NAME", help="a set or a split of one (`c2o data list`)")
    for command in (listing, check, plan):
        command.add_argument("--json", action="store_true", help="print it as JSON")
    for command in (listing, check):
        command.add_argument(
            "--root", type=Path, dest="sets", metavar="DIR", help="where the sets are (default: $DETECTRON2_DATASETS)"
        )
    number = check.add_mutually_exclusive_group()
    number.add_argument("--images", type=count, metavar="N", help="pictures of each split to decode (default: 50)")
    number.add_argument("--all", action="store_true", help="decode every picture")
    check.add_argument("--seed", type=count, default=0, metavar="N", help="draws the sample (default: 0)")
    check.add_argument("--start", type=count, default=0, metavar="N", help="pass over the first N pictures of a split")
    check.add_argument("--jobs", type=count, metavar="N", help="threads that decode (default: the cores)")


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.datasets.command import check_command, list_command, plan_command

    if arguments.action == "list":
        return list_command(root, arguments.sets, as_json=arguments.json)
    if arguments.action == "plan":
        return plan_command(arguments.name, root, as_json=arguments.json)
    images = None if arguments.all else arguments.images
    return check_command(
        arguments.name,
        root,
        arguments.sets,
        images=images,
        every=arguments.all,
        seed=arguments.seed,
        start=arguments.start,
        jobs=arguments.jobs,
        as_json=arguments.json,
    )
