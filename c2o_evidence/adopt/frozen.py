"""Figures, the staged bundle, its verification and the deliverable: they have no records, but lists of digests.

SHA256SUMS of a bundle was written over figures and results together. Where a bundle is whole, and its results are
those that lie here, the figures that it lists are theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from c2o_evidence.adopt.layout import Layout
from c2o_evidence.bundle import data_files, figure_files, result_files
from c2o_evidence.digests import sha256_bytes
from c2o_evidence.errors import EvidenceError
from c2o_evidence.freeze import verified_root
from c2o_evidence.ledger import read_ledger
from c2o_evidence.limits import MAX_SUMS
from c2o_evidence.plain_file import read_plain
from c2o_evidence.sums import SUMS_NAME, parse_sums
from c2o_evidence.verify.files import walk

State = Literal["current", "missing", "stale", "unproven"]


def bundles(layout: Layout) -> dict[str, str]:
    """Directories that may be bundles of the suite, relative to the repository, by the job that makes them."""
    return {"bundle": f"results/{layout.suite.name}/bundle", "deliver": f"deliverables/{layout.suite.name}"}


def frozen_files(layout: Layout) -> list[str]:
    """All files of the bundles that are here."""
    names = []
    for folder in bundles(layout).values() if layout.bundle is None else ():
        place = layout.root / folder
        if place.is_dir() and not place.is_symlink():
            names += [f"{folder}/{name}" for name in walk(place).files]
    return names


def check_frozen(kind: str, layout: Layout) -> tuple[State, list[str]]:
    """The verdict on the job `figures`, `bundle`, `verify` or `deliver`.

    A staged bundle that is gone, and its verification, count as current where the deliverable made of it is whole.
    """
    if kind == "figures":
        return _figures(layout)
    faults = {job: [*_bundle_faults(layout, folder)] for job, folder in bundles(layout).items()}
    there = {job: layout.there(f"{folder}/{SUMS_NAME}") for job, folder in bundles(layout).items()}
    delivered = there["deliver"] and not faults["deliver"] and not [*_ledger_faults(layout)]
    if kind == "verify":
        return _verification(layout, there["bundle"], delivered)
    if not layout.there(bundles(layout)[kind]) or not there[kind]:
        lost = kind == "bundle" and not there["bundle"] and delivered
        return ("current", []) if lost else ("missing", [])
    reasons = faults[kind] + ([*_ledger_faults(layout)] if kind == "deliver" else [])
    return ("stale" if reasons else "current"), reasons


def _sums(layout: Layout, folder: str) -> tuple[dict[str, str], str]:
    """Listed and root digest of a bundle of the checkout; empty where there is no list to read."""
    return _read_sums(layout.root / folder)


def _read_sums(folder: Path) -> tuple[dict[str, str], str]:
    try:
        data = read_plain(folder / SUMS_NAME, MAX_SUMS)
    except OSError:
        return {}, ""
    listed, problems = parse_sums(data)
    return ({}, "") if problems else (listed, sha256_bytes(data))


def _bundle_faults(layout: Layout, folder: str) -> Iterator[str]:
    """Why a bundle is not whole, or not the one of the results that lie here; at most a few of the reasons."""
    listed, _ = _sums(layout, folder)
    if not listed:
        yield f"{folder}/{SUMS_NAME}: lists nothing"
        return
    for name, digest in sorted(listed.items()):
        if layout.digests.get(f"{folder}/{name}") != digest:
            yield f"{folder}/{name}: is not what {SUMS_NAME} lists"
            return
    if listed.get("suite.yaml") != sha256_bytes(layout.suite.to_yaml().encode("utf-8")):
        yield f"{folder}/suite.yaml: is not the suite as it is now"
    pairs = {name: f"results/{layout.suite.name}/{name}" for name in result_files(layout.suite, layout.extent)}
    pairs |= {f"data/{name}": f"data/{layout.suite.data_name}/{name}" for name in data_files(layout.suite)}
    for name, here in pairs.items():
        if listed.get(name) != layout.digests.get(here):
            yield f"{folder}/{name}: is not what lies at {here}"
            return


def _ledger_faults(layout: Layout) -> Iterator[str]:
    """Whether the deliverable is the one that the ledger has frozen."""
    try:
        frozen = read_ledger(layout.root / "manifests" / "deliverables.tsv").get(layout.suite.name)
    except EvidenceError as error:
        yield str(error).replace(f"{layout.root}/", "")
        return
    root_digest = _sums(layout, bundles(layout)["deliver"])[1]
    if frozen is None:
        yield f"deliverables/{layout.suite.name}: is not in manifests/deliverables.tsv"
    elif frozen.root_sha256 != root_digest:
        yield f"deliverables/{layout.suite.name}: was frozen as {frozen.root_sha256}, is {root_digest}"


def _figures(layout: Layout) -> tuple[State, list[str]]:
    folder = f"results/{layout.suite.name}/figures"
    names = figure_files(layout.suite, layout.extent)
    place = layout.path(folder)
    if not place.is_dir():
        return "missing", []
    found = {path.name for path in place.iterdir() if not path.name.startswith(".")}
    if found != set(names):
        return "stale", [f"{folder}: holds other files than the suite's figures"]
    witnesses = [layout.root / name for name in bundles(layout).values()] if layout.bundle is None else [layout.bundle]
    witnesses += [layout.witness] if layout.witness is not None else []
    read = [name for name in result_files(layout.suite) if name.startswith(("tables/", "attention/", "train/"))]
    used = [n for n in read if n.startswith("tables/") or n.endswith(("attention.tsv", "curve.tsv"))]
    for witness in witnesses:
        listed, _ = _read_sums(witness)
        wanted = [*(f"figures/{name}" for name in names), *used]
        if listed and all(listed.get(n) == layout.digests.get(f"results/{layout.suite.name}/{n}") for n in wanted):
            return "current", []
    return "unproven", [f"{folder}: no bundle here lists these figures with these tables"]


def _verification(layout: Layout, staged: bool, delivered: bool) -> tuple[State, list[str]]:
    name = f"results/{layout.suite.name}/verify.json"
    if not layout.there(name):
        return ("current", []) if delivered and not staged else ("missing", [])
    expected = _sums(layout, bundles(layout)["bundle" if staged else "deliver"])[1]
    try:
        holds = verified_root(layout.path(name)) == expected
    except EvidenceError:
        holds = False
    return ("current", []) if holds else ("stale", [f"{name}: is not of the bundle that lies here"])
