"""`c2o export`: all files of one format, written whole or not at all, never over others and never into a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from c2o_evidence.atomic import atomic_write
from c2o_evidence.errors import EvidenceError
from c2o_evidence.exchange.coco_results import coco_files, parse_run
from c2o_evidence.exchange.place import Place, find_place
from c2o_evidence.exchange.table_files import table_files
from c2o_evidence.limits import MAX_TABLE
from c2o_evidence.outputs import check_output
from c2o_evidence.plain_file import read_plain

ALL = "all"
Files = Iterator[tuple[str, bytes]]


def latex_files(place: Place) -> Files:
    """Every LaTeX table of the place, headed by where it is from and what it needs."""
    found = [path for path in place.files() if path.startswith("tables/") and path.endswith(".tex")]
    if not found:
        raise EvidenceError(f"{place.base}: has no LaTeX tables yet; run `c2o run {place.name}`")
    root = place.provenance["root_sha256"]
    origin = f"bundle with root digest {root}" if root else "results that are not in a bundle yet"
    for path in found:
        head = f"% {place.name}, {path}: {origin}\n% In the preamble: \\usepackage{{booktabs}}\n"
        yield path.removeprefix("tables/"), head.encode("utf-8") + read_plain(place.base / path, MAX_TABLE)


def card_file(place: Place) -> Files:
    """The model card, under the name that the Hugging Face Hub reads."""
    if place.source is None:
        raise EvidenceError(f"{place.base}: a model card is made of a bundle; finish it with `c2o run {place.name}`")
    from c2o_evidence.publish.model_card import model_card

    yield "README.md", model_card(place.source).encode("utf-8")


def files_of(place: Place, kind: str, runs: Sequence[str]) -> Files:
    """File names with content. Raises EvidenceError, or as the readers of what is exported."""
    if kind == "coco":
        return coco_files(place, [] if ALL in runs else [parse_run(run) for run in runs])
    if runs:
        raise EvidenceError(f"--run: chooses detections for --to coco; --to {kind} has all runs in its tables")
    if kind == "latex":
        return latex_files(place)
    return card_file(place) if kind == "card" else table_files(place, kind)


def check_out(out: Path, root: Path) -> None:
    """Raises EvidenceError where nothing may be written: as `check_output`, and at a file."""
    if out.exists() and not out.is_dir():
        raise EvidenceError(f"{out}: is a file; -o takes a directory, which is made if it is not there")
    check_output(out, root)


def export_command(what: str, kind: str, root: Path, *, out: Path | None, runs: Sequence[str], force: bool) -> int:
    """Writes the files and says what it has done; 0.

    Raises:
        EvidenceError: there is nothing to export, or a file of another content is there already.
    """
    place = find_place(what, root)
    if out is None:
        out = root / "exports" / place.name / kind
    check_out(out, root)
    if not force and out.is_dir() and any(out.iterdir()):  # first of all, so that nothing is half exported
        for name, data in files_of(place, kind, runs):
            _refuse_other(out / name, data)
    count = 0
    for name, data in files_of(place, kind, runs):
        atomic_write(out / name, data)
        count += 1
    root_digest = place.provenance["root_sha256"]
    origin = f"verified bundle, root digest {root_digest[:12]}…" if root_digest else "no bundle: nothing vouches for it"
    print(f"{place.name} ({origin}): {count} file{'' if count == 1 else 's'} in {out}")
    print(_next(place, kind, out))
    return 0


def _refuse_other(path: Path, data: bytes) -> None:
    if not path.exists() and not path.is_symlink():
        return
    if path.is_symlink() or not path.is_file() or path.stat().st_size != len(data) or path.read_bytes() != data:
        raise EvidenceError(f"{path}: is there with another content; give --force to replace it, or another -o")


def _next(place: Place, kind: str, out: Path) -> str:
    """What to do with the files, a line."""
    if kind == "coco":
        return f"evaluate with pycocotools: COCO({str(place.truth)!r}).loadRes(FILE)"
    if kind == "latex":
        return f"in the paper: \\usepackage{{booktabs}}, then \\input{{{out}/summary}}"
    if kind == "card":
        return "upload it as README.md of the model's repository on the Hub"
    return "columns and their meaning: " + ("in each file" if kind == "json" else f"{out}/provenance.json")
