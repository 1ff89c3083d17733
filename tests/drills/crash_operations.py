"""What crash_windows.py ends in every window: all that writes evidence, on small files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from crash_windows import Operation

from c2o_evidence import bundle, records, swap
from c2o_evidence.atomic import atomic_write
from c2o_evidence.bundle import stage_bundle, write_sha256sums
from c2o_evidence.detections import Detections, read_detections, write_detections
from c2o_evidence.digests import check_sidecar, write_sidecar
from c2o_evidence.errors import EvidenceError
from c2o_evidence.freeze import freeze
from c2o_evidence.ledger import ledger_text, read_ledger, read_rows, with_freeze
from c2o_evidence.manifest import merge_results_manifest, read_results_manifest, results_rows
from c2o_evidence.records import read_record, write_record
from c2o_evidence.trained import FILES, TrainedStore
from c2o_evidence.tsv import read_tsv, write_tsv
from c2o_evidence.verify import verify
from c2o_evidence.verify.files import check_files

SHA = "0123456789abcdef" * 4
KEY = "ab" * 32
ORIGIN = {"suite": "one", "experiment": "warm", "seed": "3"}
NOW = "2024-01-31T12:00:00Z"
EVAL = "results/toy/eval/exp/seed{}"

records.utc_now = lambda: NOW  # a record's end: the same bytes again


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def prepare_file(place: Path) -> None:
    put(place / "file", "old")


def view_file(place: Path) -> str:
    return (place / "file").read_text()


def prepare_sidecar(place: Path) -> None:
    write_sidecar(put(place / "model", "old"))
    (place / "model").write_text("new")


def view_sidecar(place: Path) -> str:
    try:
        check_sidecar(place / "model")
    except EvidenceError as error:
        return "old" if "sha256: expected" in str(error) else str(error)
    return "new"


def runs(seed: int, ap: float) -> list[dict[str, object]]:
    own = {
        "exp_name": "a",
        "ckpt_path": f"train/exp/seed{seed}/model.safetensors",
        "train_seed": seed,
        "sample_step": 1,
    }
    own |= {f"{part}_sha256": SHA for part in ("ckpt", "config", "dataset", "code")}
    metrics = dict.fromkeys(["AP", "AP50", "AP75", "APs", "APm", "APl"], ap)
    return [{**own, **metrics, "eval_seed": eval_seed} for eval_seed in (0, 1)]


def write_runs(place: Path, seed: int, ap: float) -> list[dict[str, object]]:
    suite = place / "results/toy"
    put(suite / f"train/exp/seed{seed}/model.safetensors", "weights")
    write_tsv(place / EVAL.format(seed) / "results.tsv", runs(seed, ap), "results")
    return results_rows(place / EVAL.format(seed) / "results.tsv", suite, place)


def manifest(place: Path) -> Path:
    return place / "manifests/results_manifest.tsv"


def prepare_merge(place: Path) -> None:
    for seed in (0, 1):
        merge_results_manifest(manifest(place), write_runs(place, seed, 40.0))
    for seed in (1, 2):  # one row is replaced, one is new
        write_runs(place, seed, 50.0)


def run_merge(place: Path) -> None:
    suite = place / "results/toy"
    rows = [results_rows(place / EVAL.format(seed) / "results.tsv", suite, place) for seed in (1, 2)]
    merge_results_manifest(manifest(place), [row for some in rows for row in some])


def view_merge(place: Path) -> str:
    found = [row["mean_AP"] for row in read_results_manifest(manifest(place))]
    return {(40.0, 40.0): "old", (40.0, 50.0, 50.0): "new"}.get(tuple(found), str(found))


def prepare_ledger(place: Path) -> None:
    atomic_write(place / "deliverables.tsv", ledger_text(with_freeze([], "toy", SHA, 3, 30, supersede=False)))


def run_ledger(place: Path) -> None:
    rows = read_rows(place / "deliverables.tsv")
    atomic_write(place / "deliverables.tsv", ledger_text(with_freeze(rows, "toy", SHA[::-1], 4, 40, supersede=True)))


def view_ledger(place: Path) -> str:
    frozen = read_ledger(place / "deliverables.tsv")["toy"]
    return {(1, SHA, ()): "old", (2, SHA[::-1], (SHA,)): "new"}.get(
        (frozen.revision, frozen.root_sha256, frozen.history), str(frozen)
    )


def detections(score: float) -> Detections:
    box = np.array([[0.0, 0.0, 8.0, 8.0]])
    return Detections.from_arrays({"image_id": [1], "box": box, "score": [score], "label": [0]})


def prepare_evaluate(place: Path) -> None:
    write_evaluation(place, 40.0)


def write_evaluation(place: Path, ap: float) -> None:
    """In the order of workflow/scripts/evaluate.py."""
    folder = place / EVAL.format(0)
    write_detections(folder / "detections.safetensors", {("a", 0): detections(ap / 100)}, {"class_names": "[]"})
    write_tsv(folder / "results.tsv", runs(0, ap), "results")
    write_record(
        folder / "record.json", rule="evaluate", inputs={},
        outputs={name: folder / name for name in ("results.tsv", "detections.safetensors")}, parameters={"ap": ap},
        lock_sha256=SHA, code_sha256=SHA, started=NOW, suite_dir=place / "results/toy", root=place,
    )  # fmt: skip


def view_evaluate(place: Path) -> str:
    """Each of the three is whole, and the record, written last, is never ahead of what it names."""
    folder = place / EVAL.format(0)
    found = float(read_detections(folder / "detections.safetensors")["a", 0].score[0]) * 100
    table = read_tsv(folder / "results.tsv", "results")[0]["AP"]
    record = read_record(folder / "record.json").parameters["ap"]
    ages = tuple("new" if round(value) == 50 else "old" for value in (found, table, record))
    names = {("new", "old", "old"): "detections first", ("new", "new", "old"): "record last"}
    return ages[0] if len(set(ages)) == 1 else names.get(ages, str(ages))


def write_bundle(folder: Path, text: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    put(folder / "tables/summary.md", text)
    put(folder / "README.md", text)
    write_sha256sums(folder)


def prepare_first_freeze(place: Path) -> None:
    write_bundle(place / "results/toy/bundle", "new")


def prepare_freeze(place: Path) -> None:
    write_bundle(place / "results/toy/bundle", "old")
    run_freeze(place)
    write_bundle(place / "results/toy/bundle", "new")


def run_freeze(place: Path) -> None:
    freeze(place / "results/toy/bundle", place / "deliverables/toy", allow_refreeze=True)


def run_freeze_without_exchange(place: Path) -> None:
    real, swap._exchange = swap._exchange, lambda first, second: False
    try:
        run_freeze(place)
    finally:
        swap._exchange = real


def view_freeze(place: Path) -> str:
    """The old one may be called stale (its ledger is ahead), nothing else; `aside` where only its place is empty."""
    target = place / "deliverables/toy"
    if not target.exists():
        aside = [path for path in target.parent.glob(".toy.freeze-*.old") if check_files(path).findings == []]
        return "aside" if aside else "old"
    report = verify(target)
    text = (target / "README.md").read_text()
    allowed = {"stale"} if text == "old" else set()
    return text if report.kinds().keys() <= allowed else str([str(finding) for finding in report.findings])


def prepare_stage(place: Path) -> None:
    run_stage(place)
    (place / "results/toy/tables/runs.tsv").write_text("new")


def run_stage(place: Path) -> None:
    """The suite is a stand-in: what a bundle holds is not looked at here, only how it is staged."""
    base = place / "results/toy"
    if not base.exists():
        put(base / "manifest.tsv", "index")
        put(base / "tables/runs.tsv", "old")
        put(place / "lock.txt", "lock")
    bundle.result_files = lambda suite, extent: ["manifest.tsv", "tables/runs.tsv"]
    bundle._write_own = lambda building, suite: atomic_write(building / "suite.yaml", "name: toy\n")
    suite = SimpleNamespace(name="toy", rows=(), train_jobs=())
    stage_bundle(base, base / "bundle", suite, data_dir=None, lock=place / "lock.txt")  # type: ignore[arg-type]


def view_stage(place: Path) -> str:
    found = check_files(place / "results/toy/bundle")
    return str(found.findings) if found.findings else (place / "results/toy/bundle/tables/runs.tsv").read_text()


def trained_files(place: Path) -> dict[str, Path]:
    return {name: place / "train" / name for name in FILES}


def prepare_keep(place: Path) -> None:
    for name, path in trained_files(place).items():
        put(path, name)
    write_sidecar(place / "train/model.safetensors")


def prepare_keep_over_damaged(place: Path) -> None:
    prepare_keep(place)
    run_keep(place)
    (place / "store" / KEY / "curve.tsv").write_text("damaged")


def run_keep(place: Path) -> None:
    store = TrainedStore(place / "store")
    with store.claim(KEY):
        store.keep(KEY, trained_files(place), ORIGIN)


def view_keep(place: Path) -> str:
    found = TrainedStore(place / "store").find(KEY)
    return "old" if found is None else "new"


def prepare_take(place: Path) -> None:
    prepare_keep(place)
    run_keep(place)
    for path in trained_files(place).values():
        path.write_text("old")


def run_take(place: Path) -> None:
    store = TrainedStore(place / "store")
    with store.claim(KEY):
        found = store.find(KEY)
        if found is None:
            raise EvidenceError("the entry is lost")
        store.take(found, trained_files(place))


def view_take(place: Path) -> str:
    """Every file is whole; those behind are taken after those before."""
    if TrainedStore(place / "store").find(KEY) is None:
        return "the entry is lost"
    ages = ["old" if path.read_text() == "old" else "new" for path in trained_files(place).values()]
    whole = all(path.read_bytes() in (b"old", (place / "store" / KEY / name).read_bytes())
                for name, path in trained_files(place).items())  # fmt: skip
    return ages[0] if len(set(ages)) == 1 else "some" if whole and ages == sorted(ages) else str(ages)


def operation(name: str, prepare: Callable[[Path], None], run: Callable[[Path], object], view: Callable[[Path], str],
              *more: str, durable: bool = True) -> Operation:  # fmt: skip
    return Operation(name, prepare, run, view, frozenset({"old", "new", *more}), durable)


OPERATIONS = (
    operation("careless", prepare_file, lambda place: (place / "file").write_text("new"), view_file),
    operation("atomic", prepare_file, lambda place: atomic_write(place / "file", "new"), view_file),
    operation("sidecar", prepare_sidecar, lambda place: write_sidecar(place / "model"), view_sidecar),
    operation(
        "evaluation",
        prepare_evaluate,
        lambda place: write_evaluation(place, 50.0),
        view_evaluate,
        "detections first",
        "record last",
    ),  # fmt: skip
    operation("merge", prepare_merge, run_merge, view_merge),
    operation("ledger", prepare_ledger, run_ledger, view_ledger),
    operation("first freeze", prepare_first_freeze, run_freeze, view_freeze),
    operation("freeze", prepare_freeze, run_freeze, view_freeze),
    operation("freeze without exchange", prepare_freeze, run_freeze_without_exchange, view_freeze, "aside"),
    operation("stage", prepare_stage, run_stage, view_stage, durable=False),
    operation("store keep", prepare_keep, run_keep, view_keep),
    operation("store keep over damaged", prepare_keep_over_damaged, run_keep, view_keep),
    operation("store take", prepare_take, run_take, view_take, "some"),
)
