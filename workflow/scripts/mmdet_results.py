"""Take what MMDetection has detected into the evidence: results TSV, detections, record, a row of the results manifest.

    python workflow/scripts/mmdet_results.py runs/mmdet/toy/c2o/test --name toy_mmdet --data data/digits

RUN is a directory that the hook C2OResults has written. The detections are scored by C2O's own metrics on the split of
the data set whose annotation file the run names. Checkpoint, data and detections are checked by their digests first.
Everything goes to results/NAME, in the layout of a suite.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
USER_ERROR = 2
STACK = "mmdet"


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns 0, or 2 with a message on stderr."""
    args = _parser().parse_args(argv)
    from c2o_evidence.errors import EvidenceError
    from c2o_model.data.errors import DataError

    try:
        _take(args, ROOT)
    except (EvidenceError, DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    return 0


def _take(args: argparse.Namespace, root: Path) -> None:
    from c2o_evidence.atomic import atomic_path
    from c2o_evidence.code import code_digest
    from c2o_evidence.detections import Detections, write_detections
    from c2o_evidence.digests import check_digest, sha256_file
    from c2o_evidence.errors import EvidenceError
    from c2o_evidence.manifest import merge_results_manifest, results_rows
    from c2o_evidence.metrics import GroundTruth
    from c2o_evidence.records import utc_now, write_record
    from c2o_evidence.suite_stack import stack_digest
    from c2o_evidence.tsv import write_tsv
    from c2o_model.data import manifest as manifests
    from c2o_model.evaluation.shared import RUNS, load_runs

    started = utc_now()
    if (root / "configs" / "suites" / f"{args.name}.yaml").exists():
        raise EvidenceError(f"--name {args.name}: is a suite, which has results of its own; choose another name")
    about = _about(args.run)
    if not about["checkpoint"]:
        raise EvidenceError(
            f"{args.run}: names no checkpoint (it was not saved when it was validated); test it with "
            "python -m c2o_model.mmdet3.test CONFIG CHECKPOINT"
        )
    checkpoint = Path(about["checkpoint"]["path"])
    check_digest(checkpoint, about["checkpoint"]["sha256"])
    check_digest(args.run / RUNS, about["runs_sha256"])
    data = manifests.read(args.data)
    annotation = _annotation(data, about["annotation"]["sha256"])
    truth = GroundTruth.load(annotation)
    if list(truth.class_names) != about["classes"]:
        raise EvidenceError(f"{args.run}: has the classes {about['classes']}, {annotation} {list(truth.class_names)}")

    suite, seed = root / "results" / args.name, f"seed{about['train_seed']}"
    model = suite / "train" / args.name / seed / f"model{checkpoint.suffix}"
    out = suite / "eval" / args.name / seed
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(model) as copy:
        shutil.copyfile(checkpoint, copy)
    identity = {
        "exp_name": args.name,
        "ckpt_path": model.relative_to(suite).as_posix(),
        "ckpt_sha256": about["checkpoint"]["sha256"],
        "config_sha256": about["config_sha256"],
        "dataset_sha256": data.sha256,
        "code_sha256": code_digest(root, "evaluate"),
        "train_seed": about["train_seed"],
        "sample_step": about["sample_step"],
    }
    found = {
        (args.name, run.eval_seed): Detections.from_arrays(vars(run)) for run in load_runs(args.run, about["runs"])
    }
    rows = [{**identity, "eval_seed": key[1], **truth.evaluate(run)} for key, run in found.items()]
    names = {"class_names": json.dumps(truth.class_names), "ckpt_sha256": identity["ckpt_sha256"]}
    write_detections(out / "detections.safetensors", found, names)
    write_tsv(out / "results.tsv", rows, "results")
    told = {"rows": [args.name], "sha256": stack_digest(root, STACK), "versions": about["packages"]}
    write_record(
        out / "record.json",
        rule="mmdet_results",
        inputs={"data": args.data / manifests.NAME, "model": model},
        outputs={"results": out / "results.tsv", "detections": out / "detections.safetensors"},
        parameters={"stacks": {STACK: told}, "config_sha256": about["config_sha256"]},
        lock_sha256=sha256_file(root / "requirements" / "lock.txt"),
        code_sha256=identity["code_sha256"],
        started=started,
        suite_dir=suite,
        root=root,
    )
    index = root / "manifests" / "results_manifest.tsv"
    for dropped in merge_results_manifest(index, results_rows(out / "results.tsv", suite, root), root=root).dropped:
        print(dropped)
    for row in rows:
        print(f"{args.name} eval seed {row['eval_seed']}: AP {row['AP']:.1f}")
    print(f"wrote {(out / 'results.tsv').relative_to(root)}, {len(rows)} runs")


def _about(run: Path) -> dict[str, Any]:
    """run.json of the hook."""
    from c2o_evidence.errors import EvidenceError
    from c2o_evidence.json_file import parse_json
    from c2o_evidence.limits import MAX_RECORD
    from c2o_evidence.plain_file import read_plain
    from c2o_evidence.schemas import key_text, schema_faults

    path = run / "run.json"
    if not path.is_file():
        raise EvidenceError(f"{path}: is missing; name the directory that the hook C2OResults has written")
    try:
        about: dict[str, Any] = parse_json(read_plain(path, MAX_RECORD))
    except ValueError as error:
        raise EvidenceError(f"{path}: {error}; test again") from None
    for fault in schema_faults(about, "mmdet_run"):
        place = f"{key_text(fault.where)}: " if fault.where else ""
        raise EvidenceError(f"{path}: {place}{fault.what}; it is not what C2OResults writes: test again")
    return about


def _annotation(data: Any, sha256: str) -> Path:
    """The annotation file of that digest in a data set, checked."""
    from c2o_evidence.errors import EvidenceError

    for split in sorted(data.splits):
        path: Path = data.annotation(split)
        if data.files[path.relative_to(data.root).as_posix()].sha256 == sha256:
            data.check(path)
            return path
    raise EvidenceError(f"{data.root}: none of its splits has the annotation file that the run names ({sha256})")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python workflow/scripts/mmdet_results.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="directory with runs.npz and run.json")
    parser.add_argument("--name", type=_name, required=True, metavar="NAME", help="exp_name, and results/NAME")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="data set with its manifest.json")
    return parser


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name; use letters, digits, '_', '.', '-'")
    return text


if __name__ == "__main__":
    sys.exit(main())
