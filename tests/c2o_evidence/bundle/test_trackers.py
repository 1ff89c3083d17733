"""What trackers show is what the records say: read back by each tracker's own reader."""

from __future__ import annotations

import json
import shutil
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from c2o_evidence.cli import main
from c2o_evidence.errors import DigestError, EvidenceError
from c2o_evidence.stats import mean
from c2o_evidence.trackers import command, tensorboard
from c2o_evidence.trackers.runs import TrackedRun, read_run, read_runs
from c2o_evidence.trackers.tensorboard import EventFile, LiveEvents, show_place, write_run
from c2o_evidence.tsv import read_tsv

TRAIN, EVAL = "train/student/seed1", "eval/baseline/seed0"
Numbers = dict[tuple[str, int], float]  # (name, step) -> value


@pytest.fixture(scope="module")
def runs(built: Path) -> dict[str, TrackedRun]:
    """All runs of the suite `toy`, by place."""
    return {run.place: run for run in read_runs(built / "results" / "toy", "toy")}


def float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def said(run: TrackedRun) -> Numbers:
    """What a run tells, as (name, step) -> number."""
    return {(name, step): v for step, values in (*run.points, (0, run.final)) for name, v in values.items()}


def events_of(directory: Path) -> Numbers:
    reader = EventAccumulator(str(directory), size_guidance={"scalars": 0}).Reload()
    points = [((tag, event.step), event.value) for tag in reader.Tags()["scalars"] for event in reader.Scalars(tag)]
    assert len(dict(points)) == len(points), "a point is there twice"
    return dict(points)


def test_runs_are_what_the_tables_say(built: Path, runs: Mapping[str, TrackedRun]) -> None:
    base = built / "results" / "toy"
    train = [
        f"train/{e}/seed{s}" for e, s in (("backbone", 0), *((e, s) for e in ("baseline", "student") for s in (0, 1)))
    ]
    assert list(runs) == [*train, *(f"eval/{e}/seed{s}" for e in ("baseline", "student") for s in (0, 1)), "tables"]
    curve = read_tsv(base / TRAIN / "curve.tsv", "curve")
    assert [(step, dict(values)) for step, values in runs[TRAIN].points] == [
        (row["iteration"], {"lr": row["lr"], "loss": row["loss"]}) for row in curve
    ]
    assert runs[TRAIN].params == {"MODEL.WIDTH": 64, "SOLVER.MAX_ITER": 20, "SOLVER.IMS_PER_BATCH": 2}
    expected = {}
    for row in read_tsv(base / "tables" / "runs.tsv", "results"):
        if row["train_seed"] == 0 and row["exp_name"].startswith("base_"):
            numbers = {k: v for k, v in row.items() if k.startswith("AP")}
            expected |= {(f"{row['exp_name']}/{k}", row["eval_seed"]): v for k, v in numbers.items() if v == v}
    assert {key: v for key, v in said(runs[EVAL]).items() if "mean_AP" not in key[0]} == expected
    for name in ("base_1", "base_4"):
        assert runs[EVAL].final[f"{name}/mean_AP"] == mean([expected[f"{name}/AP", seed] for seed in (0, 1)])
    (row,) = (row for row in read_tsv(base / "tables" / "summary.tsv", "summary") if row["exp_id"] == "student_1")
    assert runs["tables"].final["student_1/mean_AP"] == row["mean_AP"]
    sidecar = (base / "train/baseline/seed0/model.safetensors.sha256").read_text().split()[0]
    assert (
        runs[EVAL].tags["c2o.checkpoint_sha256"]
        == runs["train/baseline/seed0"].tags["c2o.checkpoint_sha256"]
        == sidecar
    )
    assert runs["train/student/seed0"].tags["c2o.teacher_sha256"] == sidecar
    assert runs[TRAIN].files[f"{TRAIN}/curve.tsv"] == str(base / TRAIN / "curve.tsv")
    assert len({run.key for run in runs.values()}) == len(runs)


def test_a_frozen_bundle_has_the_keys_of_its_results(bundle: Path, runs: Mapping[str, TrackedRun]) -> None:
    assert {run.place: run.key for run in read_runs(bundle, "toy")} == {place: run.key for place, run in runs.items()}


def test_a_file_that_is_not_the_recorded_one_is_refused(root: Path) -> None:
    base = root / "results" / "toy"
    curve = base / TRAIN / "curve.tsv"
    curve.write_text(curve.read_text().replace("\n2\t", "\n7\t"))
    with pytest.raises(DigestError, match="curve.tsv: sha256"):
        read_run(base, "toy", TRAIN)
    record = base / EVAL / "record.json"
    record.write_text(record.read_text().replace("results.tsv", "other.tsv"))
    with pytest.raises(
        DigestError, match="eval/baseline/seed0/results.tsv: the record beside it does not name it; make"
    ):
        read_run(base, "toy", EVAL)


def test_tensorboard_reads_the_numbers_of_the_records(runs: Mapping[str, TrackedRun], tmp_path: Path) -> None:
    for _ in range(2):  # a second writing takes the place of the first
        for run in runs.values():
            write_run(run, tmp_path)
    for run in runs.values():
        assert len(list((tmp_path / run.place).iterdir())) == 1
        assert events_of(tmp_path / run.place) == {key: float32(value) for key, value in said(run).items()}
    reader = EventAccumulator(str(tmp_path / TRAIN)).Reload()
    content = reader.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    info = HParamsPluginData.FromString(content).session_start_info
    assert info.group_name == f"toy/{TRAIN}"
    assert {key: value.number_value for key, value in info.hparams.items()} == runs[TRAIN].params


def row(iteration: int, **more: float | None) -> dict[str, Any]:
    return {"iteration": iteration, "lr": 0.1, "loss": 3.0 / iteration, **more}


def write(path: Path, *rows: dict[str, Any], mode: str = "a") -> None:
    with path.open(mode) as stream:
        stream.writelines(json.dumps(one) + "\n" for one in rows)


def test_a_training_is_followed_and_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    rows, folder = tmp_path / "curve.jsonl", tmp_path / "events"
    told: list[str] = []
    first = LiveEvents(folder, rows, told.append)
    first.begin("train/a/seed0", {"SOLVER.MAX_ITER": 80})
    first.follow()  # nothing yet
    write(rows, row(20, AP=None))
    first.follow()
    live = EventAccumulator(str(folder)).Reload()
    assert [event.step for event in live.Scalars("loss")] == [20] and "AP" not in live.Tags()["scalars"]
    write(rows, row(40, AP=12.5), row(60, AP=None))
    with rows.open("a") as stream:
        stream.write('{"iteration": 80, "lo')  # being written
    first.follow()
    assert [event.step for event in live.Reload().Scalars("loss")] == [20, 40, 60]
    # Killed; its state is of iteration 40. What came after is made again.
    write(rows, row(20, AP=None), row(40, AP=12.5), mode="w")
    second = LiveEvents(folder, rows, told.append)
    second.begin("train/a/seed0", {})
    second.follow()
    write(rows, row(60, AP=None))
    second.follow()
    second.finish([row(20, AP=float("nan")), row(40, AP=12.5), row(60, AP=float("nan")), row(80, AP=31.0)])
    expected = {("loss", i): float32(3.0 / i) for i in (20, 40, 60, 80)} | {("AP", 40): 12.5, ("AP", 80): 31.0}
    assert {key: value for key, value in events_of(folder).items() if key[0] != "lr"} == expected
    assert [event.step for event in live.Reload().Scalars("loss")] == [
        20,
        40,
        60,
        80,
    ]  # one that looked on all the time
    assert not told


def full(*_: Any, **more: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("fault", ["disk", "package", "row", "place"])
def test_no_fault_of_the_tracker_reaches_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    rows, folder = tmp_path / "curve.jsonl", tmp_path / "events"
    told: list[str] = []
    if fault == "package":
        monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    if fault == "place":
        folder.write_text("in the way")
    events = LiveEvents(folder, rows, told.append)
    events.begin("train/a/seed0", {})
    write(rows, row(20))
    if fault == "disk":
        monkeypatch.setattr(EventFile, "_write", full)
    if fault == "row":
        rows.write_text("[]\n")
    events.follow()
    events.follow()
    events.finish([row(20)])
    assert len(told) == 1 and told[0].startswith(f"{folder}: no TensorBoard events from here on (")
    names = {"disk": "OSError", "package": "ModuleNotFoundError", "row": "TypeError", "place": "FileExistsError"}
    assert names[fault] in told[0]


def test_a_job_shows_what_it_has_recorded(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = root / "results" / "toy"
    show_place(base, EVAL)
    assert ("base_4/AP", 1) in events_of(base / "tensorboard" / EVAL) and capsys.readouterr().out == ""
    (base / EVAL / "record.json").unlink()
    show_place(base, EVAL)
    assert (
        f"{base / 'tensorboard' / EVAL}: no TensorBoard events from here on (RecordError: " in capsys.readouterr().out
    )


def test_mlflow_reads_the_numbers_of_the_records(
    runs: Mapping[str, TrackedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    from c2o_evidence.trackers.mlflow_store import log_runs

    monkeypatch.chdir(tmp_path)
    uri = (tmp_path / "store").as_uri()
    chosen = [runs[TRAIN], runs[EVAL], runs["tables"]]
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_terminated", full)  # killed inside the first run
        with pytest.raises(
            EvidenceError, match="MLflow at .*No space left .*; what was written so far stays, the same"
        ):
            log_runs(chosen, uri, "c2o-toy")
    assert log_runs(chosen, uri, "c2o-toy") == (3, 0)
    assert log_runs(chosen, uri, "c2o-toy") == (0, 3)
    client = MlflowClient(tracking_uri=uri)
    place = client.get_experiment_by_name("c2o-toy").experiment_id
    found = {run.info.run_name.removeprefix("toy/"): run for run in client.search_runs([place])}
    assert set(found) == {run.place for run in chosen}
    for run in chosen:
        there = found[run.place]
        numbers = {
            (name, m.step): m.value
            for name in there.data.metrics
            for m in client.get_metric_history(there.info.run_id, name)
        }
        assert numbers == said(run)
        assert there.data.params == {name: str(value) for name, value in run.params.items()}
        assert run.tags.items() <= there.data.tags.items() and there.data.tags["c2o.key"] == run.key
        assert there.info.start_time == run.started * 1000 and there.info.status == "FINISHED"
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def wandb_records(file: Path) -> Iterator[bytes]:
    """The records of a .wandb file: a header of 7 bytes, then LevelDB's log format (blocks of 32 KiB; a chunk has 4
    bytes of checksum, 2 of length, 1 of kind: 1 whole, 2 first, 3 middle, 4 last).
    """
    data, place, record = file.read_bytes(), 7, b""
    while place < len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def wandb_says(file: Path) -> tuple[Numbers, dict[str, Any], dict[str, Any]]:
    """History, configuration and summary of an offline run, as W&B's own messages have them."""
    from wandb.proto.wandb_internal_pb2 import Record

    numbers: Numbers = {}
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    for data in wandb_records(file):
        record = Record.FromString(data)
        if record.HasField("run"):
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        if record.HasField("history"):
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            step = row.get("_step", record.history.step.num)
            numbers |= {(name, step): value for name, value in row.items() if not name.startswith("_")}
        if record.HasField("summary"):
            summary |= {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.summary.update}
    return numbers, config, summary


def test_wandb_reads_the_numbers_of_the_records(
    runs: Mapping[str, TrackedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    from c2o_evidence.trackers.wandb_dir import log_runs

    home, place = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(place / "settings" / name.lower()))
    chosen = [runs[TRAIN], runs[EVAL]]
    assert log_runs(chosen, place, "c2o-toy") == (2, 0)
    assert log_runs(chosen, place, "c2o-toy") == (0, 2)
    (folder,) = (place / "wandb").glob(f"offline-run-*-{runs[EVAL].key[:32]}")
    (folder / "c2o.key").unlink()  # killed before its end
    assert log_runs(chosen, place, "c2o-toy") == (1, 1)
    for run in chosen:
        (file,) = (place / "wandb").glob(f"offline-run-*/run-{run.key[:32]}.wandb")
        numbers, config, summary = wandb_says(file)
        assert numbers == {(n, step): v for step, values in run.points for n, v in values.items()}
        assert run.params.items() <= config.items() and config["c2o"]["c2o.key"] == run.key
        assert run.final.items() <= summary.items()
    assert not list(home.iterdir())


@pytest.mark.parametrize("to", ["mlflow", "wandb"])
def test_a_package_that_is_missing_is_named(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], to: str
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.tracking" if to == "mlflow" else to, None)
    arguments = ["--root", str(built), "track", "toy", "--to", to, "--uri", str(tmp_path / "x")]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert f"c2o track: --to {to}: " in said and f"is not installed; `make extras`, or pip install {to}" in said
    assert not (tmp_path / "x").exists()


def test_track_finds_results_and_says_where_they_are_shown(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = root / "results" / "toy" / "tensorboard"
    assert main(["--root", str(root), "track", "toy"]) == 0
    assert capsys.readouterr().out == (
        f"tensorboard: 10 run(s) written, 0 there already: {folder} (tensorboard --logdir {folder})\n"
    )
    assert (("student_1/mean_AP", 0) in events_of(folder / "tables")) and (("loss", 5) in events_of(folder / TRAIN))
    bundle = shutil.copytree(root / "results" / "toy" / "bundle", tmp_path / "theirs")
    assert command.find_results(str(bundle), root) == (bundle, "toy"), "a bundle may be called as one likes"
    assert main(["--root", str(root), "track", str(bundle), "--uri", str(tmp_path / "own")]) == 0
    assert events_of(tmp_path / "own" / TRAIN) == events_of(folder / TRAIN)
    capsys.readouterr()
    assert main(["--root", str(root), "track", "toy", "--uri", str(bundle / "train")]) == 2
    assert f"lies in the bundle {bundle}, which holds evidence alone; give another --uri" in capsys.readouterr().err
    assert not list(bundle.rglob(tensorboard.PATTERN))
    for what, message in (
        ("nowhere", "nowhere: has no results here (looked in "),
        (f"{root}/data", f"{root}/data: has no results here (looked in {root}/data)"),
        ("../toy;x", "has no results here"),
    ):
        assert main(["--root", str(root), "track", what]) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["--root", str(root), "track", "toy", "--uri", str(tmp_path / "file")]) == 2
    assert "file: is a file; name a directory, which is made if it is not there" in capsys.readouterr().err


def test_a_build_tells_the_trackers_that_are_asked_for(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from c2o_evidence import run as building

    told: list[str] = []
    monkeypatch.setattr(building, "run_suite", lambda suite, extra, root: 1 if "fail" in extra else 0)
    real: Callable[..., str] = command.track
    monkeypatch.setattr(command, "track", lambda suite, to, root: told.append(to) or real(suite, to, root))
    run = ["--root", str(root), "run", "toy"]
    assert main(run) == 0 and not told
    monkeypatch.setenv("C2O_TRACK", "tensorboard, mlflow")
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    assert main([*run, "-n"]) == 0 and main([*run, "fail"]) == 1 and not told
    assert main(run) == 0 and told == ["tensorboard", "mlflow"]
    said = capsys.readouterr().out
    assert "tensorboard: 10 run(s) written" in said
    assert "C2O_TRACK: --to mlflow: mlflow.tracking is not installed; `make extras`" in said
    assert "the results are whole: c2o track toy --to mlflow\n" in said
    monkeypatch.setenv("C2O_TRACK", "mlfow")
    assert main(run) == 2
    assert "C2O_TRACK: 'mlfow' is no tracker; known: tensorboard, mlflow, wandb" in capsys.readouterr().err


def test_where_trackers_keep_their_runs(tmp_path: Path) -> None:
    place = command.place_of
    assert place("mlflow", "toy", tmp_path, {}) == f"file://{tmp_path}/results/.state/mlflow"
    assert place("mlflow", "toy", tmp_path, {"MLFLOW_TRACKING_URI": "http://host:5000"}) == "http://host:5000"
    assert place("wandb", "toy", tmp_path, {}) == str(tmp_path / "results" / ".state" / "wandb")
    assert place("wandb", "toy", tmp_path, {"WANDB_DIR": "/elsewhere"}) == "/elsewhere"
    assert place("tensorboard", "toy", tmp_path, {}) == str(tmp_path / "results" / "toy" / "tensorboard")


def test_what_is_no_name_for_mlflow_is_replaced() -> None:
    from c2o_evidence.trackers.mlflow_store import _name

    assert _name("row/AP-traffic light") == "row/AP-traffic light" and _name("AP-cats&dogs") == "AP-cats_dogs"


def test_what_trackers_keep_is_no_garbage_and_no_result() -> None:
    from c2o_evidence.garbage.find import _known
    from c2o_evidence.garbage.places import RESULT

    kept = ("results/toy/tensorboard/train/a/seed0/events.out.tfevents.1.c2o", "results/.state/mlflow/1/meta.yaml",
            "results/.state/wandb/wandb/offline-run-1-a/run-a.wandb")  # fmt: skip
    assert all(_known(name) and not RESULT.match(name) for name in kept)
    assert tensorboard.FOLDER == "tensorboard"
