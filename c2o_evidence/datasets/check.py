"""Whether a copy of a data set is whole: layout, annotation files against what is published, image files, a sample of
pictures. Nothing is written, nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from c2o_evidence.datasets.coco_file import read_coco
from c2o_evidence.datasets.contents import SHOWN, Contents
from c2o_evidence.datasets.kinds import DataSet, Split
from c2o_evidence.datasets.names import ROOT
from c2o_evidence.datasets.odgt_file import read_odgt
from c2o_evidence.datasets.outcome import Outcome, SplitOutcome
from c2o_evidence.datasets.pictures import check_pictures, drawn
from c2o_evidence.datasets.voc_files import Annotation, names_in, read_voc
from c2o_evidence.errors import DataSetError

DRAWN_IMAGES = 10_000  # of Repro-10k
SAMPLE = 50  # pictures of a split that are decoded, unless asked for otherwise
CORRECT = "correct the annotation file, or get it again"
MARKED = {"voc": "difficult", "odgt": "ignored"}  # else crowds

Watch = Callable[[str, int | None, str], AbstractContextManager[Callable[[int], None]]]
"""Shows a piece of work: its name, its size (None: unknown) and unit; gives what is called with each part done."""


@dataclass(frozen=True)
class Options:
    """`images`: pictures of a split to decode (None: all); `start`: how many of them to pass over, after a stop."""

    images: int | None = SAMPLE
    seed: int = 0
    start: int = 0
    jobs: int | None = None


@dataclass
class _State:
    """What several splits of a set share, read once."""

    listings: dict[Path, set[str]] = field(default_factory=dict)
    xml: dict[str, Annotation] = field(default_factory=dict)

    def listing(self, folder: Path) -> set[str]:
        if folder not in self.listings:
            self.listings[folder] = names_in(folder)
        return self.listings[folder]


def check_set(dataset: DataSet, base: Path, options: Options, watch: Watch) -> Outcome:
    """Check the splits of a set below `base`.

    Raises:
        DataSetError: nothing of it is there, or Pillow is needed and missing.
    """
    if not any((base / path).exists() for path in dataset.paths()):
        what = f"{dataset.title} is not there: {base / dataset.paths()[0]} and all else of it is missing"
        todo = f"`c2o data plan {dataset.name}` says what to get and where to put it" if dataset.archives else ""
        raise DataSetError(
            f"{what}; {todo or 'correct the paths in EXTRA_COCO_DATASETS'}, or set {ROOT} to where it is"
        )
    outcome, state = Outcome(dataset.name, str(base)), _State()
    for split in dataset.splits:
        outcome.splits.append(check_split(split, base, options, watch, state))
        if outcome.stopped:
            break
    return outcome


def check_split(split: Split, base: Path, options: Options, watch: Watch, state: _State) -> SplitOutcome:
    """Check one split below `base`."""
    found = SplitOutcome(split.name, f"{split.annotation}, images in {split.images}")
    for path, source in _layout(split):
        if not (base / path).exists():
            found.add("fault", "is missing", f"put it there{_from(source)}", [str(base / path)], 1)
    if not (base / split.annotation).exists():
        return found
    try:
        contents = _read(split, base, watch, state)
    except DataSetError as error:
        what, _, todo = str(error).rpartition("; ")
        found.add("fault", what, todo + (_from(split.annotation_from) if "again" in todo else ""))
        return found
    _compare_file(found, split, contents)
    _compare_counts(found, split, contents)
    found.add_faults(contents.faults, CORRECT)
    folder = base / split.images
    if folder.is_dir():
        absent = _compare_files(found, split, contents, folder, state)
        _look_at_pictures(found, contents, folder, absent, options, watch)
    return found


def _layout(split: Split) -> list[tuple[str, str]]:
    """Paths that must be there, and the archive that each comes from."""
    return [
        (split.annotation, split.annotation_from),
        (split.images, split.images_from),
        *((path, split.annotation_from) for path in split.more),
    ]


def _from(source: str) -> str:
    return f" (from {source})" if source else ""


def _read(split: Split, base: Path, watch: Watch, state: _State) -> Contents:
    path = base / split.annotation
    if split.format == "voc":
        with watch(f"{split.name}: annotations", split.image_count, "files") as progress:
            return read_voc(path, state.listing(base / split.images), progress, state.xml)
    size = path.stat().st_size if path.is_file() else None
    with watch(f"{split.name}: {path.name}", size, "bytes") as progress:
        return read_odgt(path, progress) if split.format == "odgt" else read_coco(path, split.format, progress)


def _compare_file(found: SplitOutcome, split: Split, contents: Contents) -> None:
    """The annotation file against its published size and digest."""
    again = f"get {split.annotation_from or 'it'} again from its publisher"
    if split.sha256 and contents.sha256 == split.sha256:
        found.add("ok", "the annotation file has the published SHA-256")
    elif split.sha256 and split.certain:
        what = f"the annotation file is not the published one: SHA-256 {contents.sha256}, published {split.sha256}"
        found.add("fault", what, again)
    elif split.sha256:
        what = f"the annotation file has SHA-256 {contents.sha256}, the only public source found has {split.sha256}"
        found.add("note", what, f"if a line below has a fault, {again}")
    elif split.size is not None and contents.size != split.size:
        found.add("fault", f"the annotation file has {contents.size} bytes, published are {split.size}", again)
    elif split.annotation_from and split.format != "voc":
        found.add("note", f"no public digest of the annotation file is known; its SHA-256 is {contents.sha256}")


def _compare_counts(found: SplitOutcome, split: Split, contents: Contents) -> None:
    """Numbers of images, boxes and classes against the published ones."""
    plain, kind = contents.boxes - contents.marked, MARKED.get(split.format, "crowds")
    counts = [
        ("images", len(contents.names), split.image_count),
        ("boxes", contents.boxes, split.boxes),
        ("classes", contents.classes, split.classes or None),
    ]
    if split.plain_boxes is not None:
        counts.insert(2, (f"of them not {kind}", plain, split.plain_boxes))
    again = f"get {split.annotation_from or 'the annotation file'} again"
    for what, number, published in counts:
        if published is not None and number != published:
            found.add("fault", f"{number} {what}, published are {published}", again)
    agree = ", ".join(f"{number} {what}" for what, number, published in counts if published == number)
    rest = ", ".join(f"{number} {what}" for what, number, published in counts if published is None)
    if agree:
        found.add("ok", f"{agree}, as published")
    if rest:
        found.add("note", f"{rest}; no published number to compare with")
    if contents.marked and split.plain_boxes is None:
        found.add("note", f"{contents.marked} of the boxes are {kind}")
    if contents.empty:
        found.add("note", f"{contents.empty} boxes have no area; they are left out when the set is loaded")
    if contents.candidates is not None:
        what = f"{contents.candidates} images to draw from, {min(DRAWN_IMAGES, contents.candidates)} will be drawn"
        found.add("ok" if contents.candidates else "fault", what)


def _compare_files(
    found: SplitOutcome, split: Split, contents: Contents, folder: Path, state: _State
) -> frozenset[str]:
    """The image files against the annotation file; returns the names of those that are not there."""
    needed: dict[str, set[str]] = {}
    for name in contents.names:
        path = PurePosixPath(name)
        needed.setdefault(str(path.parent), set()).add(path.name)
    absent: list[str] = []
    surplus = 0
    for place, names in sorted(needed.items()):
        there = state.listing(folder / place)
        absent += [str(PurePosixPath(place, name)) for name in names - there]
        surplus += len(there - names)
    missing = sorted(set(absent) - split.never_published)
    never = len(absent) - len(missing)
    total = len(contents.names) - never
    if missing:
        places = [str(folder / name) for name in missing[:SHOWN]]
        todo = f"put them there{_from(split.images_from)}"
        found.add("fault", f"{len(missing)} of {total} image files are missing", todo, places, len(missing))
    else:
        found.add("ok", f"all {total} image files are there")
    if never:
        found.add("note", f"{never} images are in the annotations and were never published; they are left out")
    if surplus and split.alone:
        found.add("note", f"{surplus} files beside the images are in no annotation; they are not used")
    return frozenset(absent)


def _look_at_pictures(
    found: SplitOutcome, contents: Contents, folder: Path, absent: frozenset[str], options: Options, watch: Watch
) -> None:
    """Decode some of the pictures, or all."""
    pictures = drawn(contents, folder, options.images, options.seed, absent)
    if options.start >= len(pictures):
        if pictures and options.start:
            what = f"--start {options.start}: there are only {len(pictures)} pictures to look at"
            raise DataSetError(f"{found.name}: {what}; give a smaller number")
        return
    with watch(f"{found.name}: pictures", len(pictures), "images") as progress:
        progress(options.start)
        faults, done = check_pictures(pictures, start=options.start, jobs=options.jobs, progress=progress)
    number, bad = done - options.start, sum(faults.counts.values())
    found.add_faults(faults, "get these files again; a wrong size may also be a fault of the annotations")
    sized = " and have the annotated size" if any(picture.height for picture in pictures) else ""
    some = "" if options.images is None else f" (of {len(contents.names)}, drawn with seed {options.seed})"
    if bad < number:
        found.add("ok", f"{number - bad} of {number} pictures{some} decode{sized}")
    if done < len(pictures):
        found.stopped = True
        how = "--all" if options.images is None else f"--images {options.images} --seed {options.seed}"
        todo = f"`c2o data check {found.name} {how} --start {done}` goes on there"
        found.add("note", f"stopped after {done} of {len(pictures)} pictures", todo)
