"""What was measured and cannot be computed again: times, memory, training curves.

Each number is bound by the digest in the record of its job. What is not a measurement in these tables does follow from
the bundle: which rows there are, whose checkpoint was timed and how, on which hardware by the record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from c2o_evidence.checkpoint_header import read_metadata
from c2o_evidence.errors import EvidenceError
from c2o_evidence.records import Record
from c2o_evidence.suite import Suite
from c2o_evidence.tsv import read_tsv
from c2o_evidence.verify.findings import Finding, Kind
from c2o_evidence.verify.records import checkpoint_path

Row = dict[str, Any]
TIMING, ATTENTION = "timing/timing.tsv", "attention/attention.tsv"


def measured_note(suite: Suite) -> str:
    """What no level below `eval` can compute again, in words."""
    parts = [TIMING] if suite.timing is not None else []
    parts += [ATTENTION] if suite.attention is not None else []
    parts += ["train/*/curve.tsv"] if suite.train_jobs else []
    parts += ["hosts, tools and times in records"]
    return f"measured, so bound by digests alone and not recomputable: {', '.join(parts)}"


def _read(root: Path, path: str, schema: str) -> tuple[list[Row] | None, list[Finding]]:
    try:
        return read_tsv(root / path, schema, strict=False), []
    except EvidenceError as error:
        return None, [Finding("malformed", path, str(error).replace(f"{root}/", ""))]


def _timing_place(row: Row) -> str:
    return f"exp_id={row['exp_id']}, train_seed={row['train_seed']}"


def check_timing(
    root: Path, suite: Suite, digests: Mapping[str, str], record: Record | None
) -> tuple[list[Row] | None, list[Finding]]:
    """The timing rows, None if they cannot be read, and what does not fit checkpoints, suite, record or each other."""
    spec = suite.timing
    if spec is None:
        return [], []
    rows, findings = _read(root, TIMING, "timing")
    if rows is None:
        return None, findings
    known = {row.exp_id: row for row in suite.rows}
    seen: set[str] = set()
    for row in rows:
        place, wanted_row = _timing_place(row), known.get(row["exp_id"])
        if wanted_row is None:
            findings.append(Finding("row-extra", TIMING, "nothing asks for this row", row=place))
            continue
        if row["exp_id"] in seen:
            findings.append(Finding("used-twice", TIMING, "this row is there more than once", row=place))
        seen.add(row["exp_id"])
        seed = suite.seed_of(wanted_row.experiment, spec.train_seed)
        checkpoint = checkpoint_path(wanted_row.experiment, seed)
        wanted: dict[str, Any] = {
            "ckpt_path": checkpoint,
            "ckpt_sha256": digests.get(checkpoint, "nothing"),
            "train_seed": seed,
            "sample_step": wanted_row.sample_step,
            "inference_fps": 1.0 / row["inference_s_per_img"],
            "warmup": spec.warmup,
            "repeats": spec.repeats,
            "images": spec.images,
            "batch": spec.batch,
        }
        if record is not None:
            wanted["hardware_id"] = record.host["hardware_id"]
            wanted["hardware"] = record.host["hardware"].get("cpu")
        findings += _differing(TIMING, place, row, wanted)
        low, high = row["inference_s_per_img_min"], row["inference_s_per_img_max"]
        if not low <= row["inference_s_per_img"] <= high:
            message = "the median does not lie between the fastest and the slowest"
            column = "inference_s_per_img"
            findings.append(Finding("row-edited", TIMING, message, place, column, f"{low} to {high}", str(row[column])))
    for exp_id in sorted(set(known) - seen):
        findings.append(Finding("row-missing", TIMING, "this row was not timed", row=f"exp_id={exp_id}"))
    order = [exp_id for exp_id in known if exp_id in seen]
    findings += _order(TIMING, "exp_id", order, [row["exp_id"] for row in rows if row["exp_id"] in known])
    return (rows if len(seen) == len(rows) else None), findings


def _differing(path: str, place: str, row: Row, wanted: Mapping[str, Any]) -> Iterator[Finding]:
    for column, value in wanted.items():
        if row[column] != value:
            kind: Kind = "stale" if column.endswith("sha256") else "row-edited"
            message = "does not fit the checkpoint, the suite, the record or the time"
            yield Finding(kind, path, message, place, column, str(value), str(row[column]))


def _order(path: str, column: str, wanted: list[str], found: list[str]) -> Iterator[Finding]:
    once = list(dict.fromkeys(found))
    for want, have in zip(wanted, once, strict=False):
        if want != have:
            message = "the rows are not in their order, from this one on"
            yield Finding("row-reordered", path, message, f"{column}={have}", "", want, have)
            return


def check_attention(root: Path, suite: Suite, digests: Mapping[str, str], record: Record | None) -> list[Finding]:
    """Findings in the attention benchmark: rows of sizes that nothing asks for, or missing, or of other hardware."""
    spec = suite.attention
    if spec is None or ATTENTION not in digests:
        return []
    rows, findings = _read(root, ATTENTION, "attention")
    seen: set[tuple[Any, ...]] = set()
    for row in rows or ():
        keys = ("impl", "backend", "bias", "nodes", "dtype", "device")
        place = ", ".join(f"{key}={row[key]}" for key in keys)
        key = tuple(row[name] for name in (*keys, "batch"))
        if key in seen:
            findings.append(Finding("used-twice", ATTENTION, "this row is there more than once", row=place))
        seen.add(key)
        if row["nodes"] not in spec.nodes:
            findings.append(Finding("row-extra", ATTENTION, "nothing asks for this number of nodes", row=place))
        wanted: dict[str, Any] = {"heads": spec.heads, "dim": spec.dim, "repeats": spec.repeats}
        if record is not None:
            wanted["hardware_id"] = record.host["hardware_id"]
        findings += _differing(ATTENTION, place, row, wanted)
    if rows is not None:
        for nodes in sorted(set(spec.nodes) - {row["nodes"] for row in rows}):
            findings.append(
                Finding("row-missing", ATTENTION, "this number of nodes was not measured", f"nodes={nodes}")
            )
    return findings


def check_curves(root: Path, suite: Suite, digests: Mapping[str, str]) -> Iterator[Finding]:
    """Findings in training curves: rows twice or out of order, or an end that is not the checkpoint's."""
    for name, seed in suite.train_jobs:
        model = checkpoint_path(name, seed)
        path = model.replace("model.safetensors", "curve.tsv")
        if path not in digests:
            continue
        rows, findings = _read(root, path, "curve")
        yield from findings
        if rows is None:
            continue
        numbers = [row["iteration"] for row in rows]
        for number in sorted(number for number, times in Counter(numbers).items() if times > 1):
            yield Finding("used-twice", path, "this row is there more than once", f"iteration={number}")
        yield from _order(path, "iteration", [str(n) for n in sorted(set(numbers))], [str(n) for n in numbers])
        try:
            trained = read_metadata(root / model).get("iterations") if model in digests else None
        except EvidenceError:
            continue  # named where the checkpoints are checked
        last = str(max(numbers, default=0))
        if trained is not None and last != trained:
            message = "the curve does not end with the training"
            yield Finding("row-missing", path, message, "", "iteration", trained, last)
