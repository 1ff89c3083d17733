"""A bundle: every file behind a suite's numbers in one directory that can be checked anywhere.

`stage_bundle` collects it from results (copies, never links) and writes what belongs to a bundle alone: the
resolved suite, the stand-alone `verify.py`, README, report, RO-Crate metadata and, last, SHA256SUMS.
`c2o_evidence.freeze` makes a deliverable of it. The layout below the root is that of `results/SUITE`, so
paths in tables hold in both.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path

from c2o_evidence.atomic import atomic_write
from c2o_evidence.errors import EvidenceError
from c2o_evidence.extent import DETAIL_TABLES, NOW, Extent, extent_of
from c2o_evidence.figures import figure_names
from c2o_evidence.lock import locked
from c2o_evidence.suite import Suite
from c2o_evidence.suite_stack import PARITY
from c2o_evidence.sums import SUMS_NAME, format_sums
from c2o_evidence.swap import put_in_place, recover, staging
from c2o_evidence.verify.files import hash_files, walk

TRAIN_FILES = ("model.safetensors", "model.safetensors.sha256", "config.yaml", "curve.tsv", "record.json")
EVAL_FILES = ("results.tsv", "detections.safetensors", "record.json")
LOCK_SECONDS = 600.0
DETAIL_FILES = tuple(f"{name}.tsv" for name in DETAIL_TABLES)
TABLE_FILES = (
    *("runs.tsv", "comparisons.tsv", "record.json"),
    *(f"{name}.{suffix}" for name in ("summary", "main") for suffix in ("tsv", "md", "tex")),
    *DETAIL_FILES,
)
FIGURE_SUFFIXES = ("pdf", "png", "svg")


def table_files(extent: Extent = NOW) -> tuple[str, ...]:
    """Names of the files in `tables`, its record too; a suite without rows has them without rows."""
    return tuple(name for name in TABLE_FILES if extent.edition > 1 or name not in DETAIL_FILES)


def figure_files(suite: Suite, extent: Extent = NOW) -> list[str]:
    """Names of the files in `figures` of a suite."""
    suffixes = FIGURE_SUFFIXES if extent.edition > 1 else ("png", "svg")
    return [f"{name}.{suffix}" for name in figure_names(suite, extent) for suffix in suffixes]


def result_files(suite: Suite, extent: Extent = NOW) -> list[str]:
    """Paths, relative to `results/SUITE`, of every result that the bundle of a suite holds, sorted."""
    paths = ["manifest.tsv"]
    for experiment, seed in suite.train_jobs:
        paths += [f"train/{experiment}/seed{seed}/{name}" for name in TRAIN_FILES]
    for experiment, seed in suite.eval_jobs:
        paths += [f"eval/{experiment}/seed{seed}/{name}" for name in EVAL_FILES]
    for part in ("timing", "attention"):
        if getattr(suite, part) is not None:
            paths += [f"{part}/{part}.tsv", f"{part}/record.json"]
    if suite.parity:
        paths += [PARITY, "parity/record.json"]
    if suite.gallery is not None:
        paths += [f"gallery/{name}" for name in suite.gallery.files]
    paths += [f"tables/{name}" for name in table_files(extent)]
    paths += [f"figures/{name}" for name in figure_files(suite, extent)]
    return sorted(paths)


def data_files(suite: Suite) -> tuple[str, ...]:
    """Files of the data set that a bundle holds; none where nothing is evaluated."""
    return ("manifest.json", "val.json") if suite.rows else ()


def bundle_files(suite: Suite, extent: Extent = NOW) -> list[str]:
    """Paths, relative to the bundle's root, of all its files but SHA256SUMS, sorted."""
    own = [
        "suite.yaml",
        "environment/lock.txt",
        "verify.py",
        "README.md",
        "report.html",
        "ro-crate-metadata.json",
    ]
    return sorted([*result_files(suite, extent), *(f"data/{name}" for name in data_files(suite)), *own])


def _sources(suite: Suite, results_dir: Path, data_dir: Path | None, lock: Path) -> Iterator[tuple[str, Path]]:
    for path in result_files(suite, extent_of(results_dir, suite)):
        yield path, results_dir / path
    for name in data_files(suite):
        if data_dir is None:
            raise EvidenceError(f"data/{name}: the suite {suite.name} has rows, but no data set is given")
        yield f"data/{name}", data_dir / name
    yield "environment/lock.txt", lock


def stage_bundle(results_dir: Path, bundle_dir: Path, suite: Suite, *, data_dir: Path | None, lock: Path) -> str:
    """Builds the bundle of `suite` in `bundle_dir` and returns its root digest.

    Args:
        results_dir: `results/SUITE`.
        bundle_dir: where to build; replaced in one step if it exists, never left half built.
        data_dir: `data/NAME`, for the data manifest and the annotations that AP is recomputed from; None
            for a suite without rows.
        lock: the environment lock file.

    Raises:
        EvidenceError: a result is missing (all missing ones are named), or the device cannot take the bundle.
    """
    sources = dict(_sources(suite, results_dir, data_dir, lock))
    missing = [str(source) for source in sources.values() if not source.is_file() or source.is_symlink()]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise EvidenceError(f"{', '.join(missing[:5])}{more}: missing or not a plain file; run `c2o run {suite.name}`")
    try:
        with locked(bundle_dir, LOCK_SECONDS):
            recover(bundle_dir)
            try:
                building = staging(bundle_dir)
                root_digest = _build(building, sources, suite)
                put_in_place(building, bundle_dir)
            finally:
                recover(bundle_dir)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise EvidenceError(f"{bundle_dir}: could not be staged: {reason}; what was there is unchanged") from error
    return root_digest


def _build(building: Path, sources: Mapping[str, Path], suite: Suite) -> str:
    for path, source in sources.items():
        target = building / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    _write_own(building, suite)
    return write_sha256sums(building)


def _write_own(bundle: Path, suite: Suite) -> None:
    from c2o_evidence.crate import write_crate
    from c2o_evidence.report import render_readme, render_report

    atomic_write(bundle / "suite.yaml", suite.to_yaml())
    atomic_write(bundle / "verify.py", template("verify.py"))
    atomic_write(bundle / "README.md", render_readme(suite))
    atomic_write(bundle / "report.html", render_report(bundle, suite))
    write_crate(bundle, suite)


def template(name: str) -> str:
    """The text of a file in `c2o_evidence/templates`."""
    return (resources.files("c2o_evidence") / "templates" / name).read_text("utf-8")


def write_sha256sums(bundle: Path) -> str:
    """Writes `SHA256SUMS` over all files of a directory; returns the root digest, the SHA-256 of that list.

    Raises EvidenceError if there is anything but plain files and directories, or a file name that cannot be
    listed.
    """
    from c2o_evidence.digests import sha256_bytes

    tree = walk(bundle)
    if tree.unsafe:
        path, what = sorted(tree.unsafe.items())[0]
        raise EvidenceError(f"{bundle / path}: is {what}; a bundle holds plain files only")
    tree.files.pop(SUMS_NAME, None)
    digests, errors = hash_files(bundle, tree.files)
    if errors:
        path = min(errors)
        raise EvidenceError(f"{bundle / path}: cannot be read: {errors[path].strerror}")
    try:
        text = format_sums(digests)
    except ValueError as error:
        raise EvidenceError(f"{bundle}: {error}; rename the file") from error
    atomic_write(bundle / SUMS_NAME, text)
    return sha256_bytes(text.encode("utf-8"))
