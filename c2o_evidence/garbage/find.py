"""Finds what is not needed: each kind of thing that the project writes, with the rule by which it may go."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from c2o_evidence.checkpoint_header import read_metadata
from c2o_evidence.digests import sha256_file
from c2o_evidence.errors import EvidenceError
from c2o_evidence.garbage import places
from c2o_evidence.garbage.needs import Needs
from c2o_evidence.garbage.places import File, files_below, lies_in_place
from c2o_evidence.json_file import parse_json
from c2o_evidence.ledger import read_ledger
from c2o_evidence.limits import MAX_STATE
from c2o_evidence.plain_file import read_plain
from c2o_evidence.progress import still_runs
from c2o_evidence.records import read_record
from c2o_evidence.sums import SUMS_NAME
from c2o_evidence.swap import ASIDE, LEFTOVER
from c2o_evidence.trained import ENTRY, FILES
from c2o_evidence.verify.files import TIMESTAMP, check_files

YOUNG_S = 600.0  # a temporary file that was written to since may have a writer that no lock tells of


@dataclass(frozen=True)
class Item:
    """Something to remove: why, where, its files, and the lock (a file to flock) that its users hold."""

    reason: str
    path: str
    files: tuple[File, ...]
    lock: str | None = None

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


@dataclass
class Found:
    """`items` to remove; `unknown`: names below `results` that the project does not know; `notes` for a reader."""

    items: list[Item] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_garbage(root: Path, needs: Needs) -> Found:
    """All that may go. Reads and hashes, changes nothing, follows no link."""
    found = Found()
    found.notes += sorted({f"{error}: everything of this suite and the whole training store stay"
                           for error in needs.broken.values()})  # fmt: skip
    for part in ("results", "data", "manifests", "deliverables", "logs"):
        if (root / part).is_symlink():
            found.notes.append(f"{part} is a link: left alone")
    for finder in FINDERS:
        found.items += (item for item in finder(root, needs) if lies_in_place(root, item.path))
    going = {file.name for item in found.items for file in item.files}
    below = (name for name, _ in places.entries_below(root, "results"))
    found.unknown = [name for name in below if name not in going and not _known(name)]
    return found


def _known(name: str) -> bool:
    shapes = (places.RESULT, places.BUNDLE, places.STATE, places.ENTRY_FILE, places.ENTRY_LOCK, places.FEATURES)
    base = name.rpartition("/")[2]
    ours = (
        base == TIMESTAMP
        or places.TEMPORARY.fullmatch(base)
        or places.ROOM_LOCK.fullmatch(name)
        or places.KEPT.fullmatch(name)
    )
    return bool(ours) or name.startswith("results/.state/replay/") or any(shape.match(name) for shape in shapes)


def _temporaries(root: Path, _: Needs) -> Iterator[Item]:
    oldest = time.time() - YOUNG_S
    for file in (file for folder in ("results", "data", "manifests") for file in files_below(root, folder)):
        temporary = places.TEMPORARY.fullmatch(file.name.rpartition("/")[2]) is not None
        if temporary and file.mtime < oldest and not file.name.startswith("results/.state/replay/"):
            yield Item("files that a killed writer left behind", file.name, (file,))


def _begun_bundles(root: Path, _: Needs) -> Iterator[Item]:
    for folder in sorted((root / "results").glob("*/.bundle.building*")):
        if _is_leftover(folder):
            lock = folder.with_name(".bundle.lock").relative_to(root).as_posix()
            yield _tree(root, folder, "a bundle that was never staged to its end", lock)


def _begun_freezes(root: Path, _: Needs) -> Iterator[Item]:
    for folder in sorted((root / "deliverables").glob(".*.freeze-*")):
        if _is_leftover(folder):
            yield _tree(root, folder, "a freeze that was never done to its end", "manifests/.deliverables.tsv.lock")


def _is_leftover(folder: Path) -> bool:
    """Whether a killed process left a directory that nobody will need.

    One that was moved aside for another that never came is the only copy: it stays, and whoever writes there next puts
    it back (c2o_evidence.swap).
    """
    match = LEFTOVER.fullmatch(folder.name)
    return match is not None and (not folder.name.endswith(ASIDE) or folder.with_name(match["name"]).is_dir())


def _tree(root: Path, folder: Path, reason: str, lock: str | None = None) -> Item:
    name = folder.relative_to(root).as_posix()
    return Item(reason, name, tuple(files_below(root, name)), lock)


def _results(root: Path, needs: Needs) -> Iterator[Item]:
    groups: dict[str, list[File]] = defaultdict(list)
    for file in files_below(root, "results"):
        match = places.RESULT.match(file.name)
        if match and not needs.asked(match["suite"], match["place"]):
            groups[f"results/{match['suite']}/{match['place']}"].append(file)
    for path, files in groups.items():
        yield Item("results that no suite asks for and no manifest names", path, tuple(files))


def _staged(root: Path, _: Needs) -> Iterator[Item]:
    """Staged bundles whose deliverable holds the same, is whole, and is the one in the ledger."""
    ledger = read_ledger(root / "manifests" / "deliverables.tsv")
    for sums in sorted((root / "results").glob(f"*/bundle/{SUMS_NAME}")):
        name = sums.parts[-3]
        deliverable = root / "deliverables" / name
        if name not in ledger or not sums.is_file() or sums.parent.is_symlink() or deliverable.is_symlink():
            continue
        if not (deliverable / SUMS_NAME).is_file() or (deliverable / SUMS_NAME).read_bytes() != sums.read_bytes():
            continue
        frozen = check_files(deliverable)
        if frozen.findings or frozen.root_digest != ledger[name].root_sha256:
            continue
        below = f"results/{name}/bundle"
        listed = {f"{below}/{path}" for path in (*frozen.listed, SUMS_NAME)}
        files = tuple(file for file in files_below(root, below) if file.name in listed)
        yield Item("staged bundles that are frozen as deliverables", below, files)


def _states(root: Path, needs: Needs) -> Iterator[Item]:
    groups: dict[tuple[str, str], list[File]] = defaultdict(list)
    for file in files_below(root, "results/.state"):
        if match := places.STATE.fullmatch(file.name):
            groups[match["suite"], match["job"]].append(file)
    for (suite, job), files in groups.items():
        if suite in ("trained", "features", "replay"):
            continue
        path = f"results/.state/{suite}/{job}"
        if _alive(root / path / "progress.json"):
            continue
        if _finished(root, f"results/{suite}/train/{job}"):
            reason = "states of trainings that are finished"
        elif not needs.asked(suite, f"train/{job}"):
            reason = "states of trainings that no suite asks for"
        else:
            continue
        yield Item(reason, path, tuple(files), f"{path}/lock")


def _alive(progress: Path) -> bool:
    try:
        document = parse_json(read_plain(progress, MAX_STATE))
        pid, pace = document.get("pid", 0), document.get("seconds_per_iteration", 0)
    except (OSError, ValueError, AttributeError):
        return False
    return isinstance(pid, int) and isinstance(pace, (int, float)) and still_runs(progress, pid, pace)


def _finished(root: Path, place: str) -> bool:
    """Whether the record of a training is there and the checkpoint is the one that it names."""
    try:
        record = read_record(root / place / "record.json")
        return sha256_file(root / place / "model.safetensors") == record.product("model").sha256
    except EvidenceError:
        return False


def _entries(root: Path, needs: Needs) -> Iterator[Item]:
    store = "results/.state/trained"
    for folder in sorted((root / store).glob("*")):
        if folder.is_symlink() or not folder.is_dir():
            continue
        name = f"{store}/{folder.name}"
        match = LEFTOVER.fullmatch(folder.name) if _is_leftover(folder) else None
        if match is not None and re.fullmatch(places.KEY, match["name"]):
            lock = f"{store}/{match['name']}.lock"
            yield _tree(root, folder, "entries of the training store that were never completed", lock)
        elif re.fullmatch(places.KEY, folder.name) and not needs.broken and not _entry_needed(folder, needs):
            files = tuple(file for file in files_below(root, name) if places.ENTRY_FILE.fullmatch(file.name))
            yield Item("entries of the training store that no suite and no result needs", name, files, f"{name}.lock")


def _entry_needed(folder: Path, needs: Needs) -> bool:
    """Whether a suite asks for the recipe, or a result that stays is this checkpoint. A damaged entry is never used."""
    try:
        model = parse_json(read_plain(folder / ENTRY, MAX_STATE))["files"][FILES[0]]
        recipe = read_metadata(folder / FILES[0]).get("recipe_sha256")
    except (EvidenceError, OSError, ValueError, KeyError, TypeError):
        return False
    return recipe is None or recipe in needs.recipes or model in needs.checkpoints


def _features(root: Path, needs: Needs) -> Iterator[Item]:
    """Only trainings use them: they go once nothing that has begun here has a training left to do."""
    for name, suite in needs.suites.items():
        begun = any((root / place / name).is_dir() for place in ("results", "results/.state"))
        jobs = suite.train_jobs if begun else ()
        if any(not (root / f"results/{name}/train/{e}/seed{s}/record.json").is_file() for e, s in jobs):
            return
    if needs.broken:
        return
    for file in files_below(root, "results/.state/features"):
        if places.FEATURES.fullmatch(file.name) and not file.name.endswith("/lock"):
            yield Item(
                "feature caches that no training is left for", file.name, (file,), "results/.state/features/lock"
            )


def _rooms(root: Path, _: Needs) -> Iterator[Item]:
    base = "results/.state/replay"
    for folder in sorted((root / base).glob("*")):
        if folder.is_symlink() or not folder.is_dir():
            continue
        room = folder.name[1:].removesuffix(".building") if folder.name.startswith(".") else folder.name
        yield _tree(root, folder, "rooms of replays that ended or were given up", f"{base}/.{room}.lock")


def _logs(root: Path, needs: Needs) -> Iterator[Item]:
    """Logs of jobs whose result is neither asked for nor there."""
    for file in files_below(root, "logs"):
        if match := places.JOB_LOG.fullmatch(file.name):
            place = f"{match['kind'].replace('evaluate', 'eval')}/{match['job']}"
        elif match := places.SUITE_LOG.fullmatch(file.name):
            place = "tables"
        else:
            continue
        suite = match["suite"]
        if suite == "data" or (place == "tables" and suite in needs.suites) or needs.asked(suite, place):
            continue
        yield Item("logs of jobs that no suite asks for", file.name, (file,))


FINDERS = (
    *(_temporaries, _begun_bundles, _begun_freezes, _results, _staged),
    *(_states, _entries, _features, _rooms, _logs),
)
