"""The store of trainings: whole entries only, taken as they are, whoever dies and whoever comes at the same time."""

import hashlib
import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from c2o_evidence.digests import write_sidecar
from c2o_evidence.errors import DigestError
from c2o_evidence.swap import staging
from c2o_evidence.trained import ENTRY, FILES, TrainedStore, training_key

KEY = "ab" * 32
ORIGIN = {"suite": "one", "experiment": "warm", "seed": "3"}


def outputs(folder: Path, text: str = "weights") -> dict[str, Path]:
    """The files of a training, made up, in the manner of results/SUITE/train/EXPERIMENT/seedS."""
    folder.mkdir(parents=True)
    files = {name: folder / name for name in FILES}
    for name, path in files.items():
        path.write_text(f"{name} {text}")
    write_sidecar(files["model.safetensors"])
    return files


@pytest.fixture
def store(tmp_path: Path) -> TrainedStore:
    return TrainedStore(tmp_path / "trained")


def kept(store: TrainedStore, tmp_path: Path) -> dict[str, Path]:
    files = outputs(tmp_path / "one")
    with store.claim(KEY):
        store.keep(KEY, files, ORIGIN, ("an operation",))
    return files


def test_what_was_kept_is_taken_with_the_same_bytes(store, tmp_path) -> None:
    files = kept(store, tmp_path)
    there = {name: tmp_path / "two" / name for name in FILES}
    with store.claim(KEY):
        found = store.find(KEY)
        store.take(found, there)
    assert found.place == "one/warm/seed3" and found.nondeterminism == ("an operation",)
    assert {n: p.read_bytes() for n, p in there.items()} == {n: p.read_bytes() for n, p in files.items()}
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(FILES)
    entry = json.loads((store.root / KEY / ENTRY).read_text())
    assert entry["files"]["curve.tsv"] == hashlib.sha256(files["curve.tsv"].read_bytes()).hexdigest()


def test_taking_replaces_what_lies_there_without_writing_into_it(store, tmp_path) -> None:
    kept(store, tmp_path)
    old = outputs(tmp_path / "two", "of an older recipe")
    other_name = tmp_path / "backup"
    os.link(old["curve.tsv"], other_name)
    store.take(store.find(KEY), old)
    assert other_name.read_text() == "curve.tsv of an older recipe"
    assert old["curve.tsv"].read_text() == "curve.tsv weights"


def test_a_removed_result_leaves_the_entry_whole(store, tmp_path) -> None:
    for path in kept(store, tmp_path).values():
        path.unlink()
    assert store.find(KEY) is not None


@pytest.mark.parametrize("name", [*FILES, ENTRY])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_entry_is_named_and_not_used_and_can_be_replaced(store, tmp_path, capsys, name, damage) -> None:
    kept(store, tmp_path)
    path = store.root / KEY / name
    data = path.read_bytes()
    path.unlink()
    if damage != "remove":
        path.write_bytes(data[:-4] if damage == "cut" else bytes([data[0] ^ 1]) + data[1:])
    assert store.find(KEY) is None
    assert f"{store.root / KEY}: is damaged and not used: " in capsys.readouterr().err
    store.keep(KEY, outputs(tmp_path / "again"), ORIGIN)
    assert store.find(KEY) is not None
    assert sorted(p.name for p in store.root.iterdir()) == sorted([KEY, f"{KEY}.lock"])


def test_an_entry_that_a_killed_process_had_begun_is_not_used_and_swept_away(store, tmp_path) -> None:
    begun = staging(store.root / KEY)
    outputs(begun)
    with store.claim(KEY):
        assert store.find(KEY) is None
    kept(store, tmp_path)
    assert not begun.exists() and store.find(KEY) is not None


def test_a_checkpoint_that_is_not_what_its_sidecar_says_is_not_kept(store, tmp_path) -> None:
    files = outputs(tmp_path / "one")
    files["model.safetensors"].write_text("other")
    with store.claim(KEY), pytest.raises(DigestError, match=r"model.safetensors: sha256: expected"):
        store.keep(KEY, files, ORIGIN)
    assert store.find(KEY) is None


def _train(root: Path, folder: Path, ran: Path) -> None:
    store = TrainedStore(root)
    with store.claim(KEY):
        found = store.find(KEY)
        if found is None:
            time.sleep(0.3)
            with ran.open("a") as stream:
                stream.write("trained\n")
            store.keep(KEY, outputs(folder), ORIGIN)
        else:
            store.take(found, {name: folder / name for name in FILES})


def test_of_jobs_at_the_same_time_one_trains(tmp_path) -> None:
    context = multiprocessing.get_context("fork")
    jobs = [
        context.Process(target=_train, args=(tmp_path / "trained", tmp_path / str(n), tmp_path / "ran"))
        for n in range(4)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(30)
    assert [job.exitcode for job in jobs] == [0] * 4
    assert (tmp_path / "ran").read_text() == "trained\n"
    assert {(tmp_path / str(n) / "curve.tsv").read_text() for n in range(4)} == {"curve.tsv weights"}


def _die(root: Path) -> None:
    with TrainedStore(root).claim(KEY):
        os._exit(9)


def test_a_claim_ends_with_the_process_that_holds_it(store) -> None:
    job = multiprocessing.get_context("fork").Process(target=_die, args=(store.root,))
    job.start()
    job.join(30)
    with store.claim(KEY):
        assert store.find(KEY) is None


def test_a_touch_of_one_copy_leaves_the_others_old(store, tmp_path) -> None:
    """Snakemake touches what a job has made; other suites must not see new files for that."""
    files = kept(store, tmp_path)
    before = {name: path.stat().st_mtime_ns for name, path in files.items()}
    taken = {name: tmp_path / "two" / name for name in FILES}
    store.take(store.find(KEY), taken)
    for path in taken.values():
        os.utime(path)
        os.utime(store.root / KEY / path.name)
    assert {name: path.stat().st_mtime_ns for name, path in files.items()} == before


def test_the_key_is_of_recipe_materials_and_environment() -> None:
    base = ("r" * 64, {"init_sha256": "1", "data": "2"}, "lock")
    others = [
        ("s" * 64, base[1], "lock"),
        (base[0], {"init_sha256": "2", "data": "2"}, "lock"),
        (base[0], {"teacher_sha256": "1", "data": "2"}, "lock"),
        (base[0], base[1], "other"),
    ]
    keys = {training_key(*one) for one in [base, *others]}
    assert len(keys) == 5 and training_key(base[0], dict(reversed(base[1].items())), "lock") in keys
