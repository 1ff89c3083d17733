"""`c2o gc` on a hand-made tree with one of each kind: what has to go goes, what has to stay stays, byte for byte."""

import fcntl
import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from c2o_evidence.cli import main
from c2o_evidence.garbage import find_garbage, read_needs, remove
from c2o_evidence.ledger import ledger_text, read_rows, with_freeze
from c2o_evidence.suite import load_suite
from c2o_evidence.tsv import write_tsv

KEY = "ab" * 32
STORE = "results/.state/trained"


class Tree:
    """A checkout below `root`; `goes` and `stays` are what a test has put there, by what has to become of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.goes: set[str] = set()
        self.stays: set[str] = set()

    def put(self, name: str, data: bytes | str = b"x", *, goes: bool, old: bool = True) -> str:
        """Write a file, as if an hour ago; its digest."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = data.encode() if isinstance(data, str) else data
        path.write_bytes(content)
        if old:
            os.utime(path, (path.stat().st_mtime - 3600,) * 2)
        (self.goes if goes else self.stays).add(name)
        return hashlib.sha256(content).hexdigest()

    def go(self, *names: str) -> None:
        for name in names:
            self.put(name, goes=True)

    def stay(self, *names: str) -> None:
        for name in names:
            self.put(name, goes=False)

    def training(
        self, place: str, *, materials: tuple[tuple[str, str], ...] = (), whole: bool = True, goes: bool = False
    ) -> str:
        """A checkpoint with sidecar and record below `results/`; its digest."""
        model = checkpoint(place)
        digest = self.put(f"results/{place}/model.safetensors", model, goes=goes)
        self.put(f"results/{place}/model.safetensors.sha256", f"{digest}  model.safetensors\n", goes=goes)
        promised = digest if whole else "0" * 64
        self.put(f"results/{place}/record.json", record(place, promised, materials), goes=goes)
        return digest

    def files(self) -> dict[str, bytes]:
        """All files and links by name; a link counts as where it points to."""
        paths = [path for path in self.root.rglob("*") if path.is_symlink() or path.is_file()]
        read = {path: os.readlink(path).encode() if path.is_symlink() else path.read_bytes() for path in paths}
        return {path.relative_to(self.root).as_posix(): data for path, data in read.items()}

    def collect(self) -> list[str]:
        """Run it; what was held."""
        return remove(self.root, find_garbage(self.root, read_needs(self.root)).items).held


def checkpoint(text: str, **metadata: str) -> bytes:
    """A .safetensors file without tensors."""
    header = json.dumps({"__metadata__": {"about": text, **metadata}}).encode()
    return struct.pack("<Q", len(header)) + header


def record(place: str, digest: str, materials: tuple[tuple[str, str], ...]) -> str:
    inside = place.partition("/")[2]
    entry = {"base": "suite", "sha256": digest, "bytes": 1}
    return json.dumps(
        {
            "schema": "c2o-record/1",
            "rule": "train",
            "materials": [{**entry, "name": name, "path": path} for name, path in materials],
            "products": [{**entry, "name": "model", "path": f"{inside}/model.safetensors"}],
            "parameters": {},
            "code_sha256": "c" * 64,
            "lock_sha256": "d" * 64,
            "tools": {},
            "host": {"name": "h", "hardware_id": "0" * 12, "hardware": {}},
            "started": "2024-01-31T12:00:00Z",
            "ended": "2024-01-31T12:00:01Z",
            "nondeterminism": [],
        }
    )


def state(tree: Tree, job: str, *, goes: bool, pid: int = 2**22 + 1) -> None:
    """What a training resumes from; no process has that number by default."""
    for name in ("state-00000100.safetensors", "state-00000100.safetensors.sha256", "processes.json", "lock"):
        tree.put(f"results/.state/{job}/{name}", goes=goes)
    tree.put(f"results/.state/{job}/progress.json", json.dumps({"pid": pid}), goes=goes)


def entry(tree: Tree, key: str, model: bytes, *, goes: bool) -> None:
    digest = tree.put(f"{STORE}/{key}/model.safetensors", model, goes=goes)
    for name in ("model.safetensors.sha256", "config.yaml", "curve.tsv"):
        tree.put(f"{STORE}/{key}/{name}", goes=goes)
    tree.put(f"{STORE}/{key}/entry.json", json.dumps({"files": {"model.safetensors": digest}}), goes=goes)
    tree.put(f"{STORE}/{key}.lock", b"", goes=False)


def temporaries(tree: Tree) -> None:
    tree.go(
        "results/toy/train/warm/seed0/.model.safetensors.0123abcd.tmp",
        "results/.state/toy/student/seed0/progress.99.tmp",
        "data/set/.val.json.0123abcd.tmp",
        "manifests/.results_manifest.tsv.89abcdef.tmp",
    )
    tree.put("results/toy/train/warm/seed0/.curve.tsv.0123abcd.tmp", goes=False, old=False)  # its writer may live
    tree.stay("deliverables/kept/.model.0123abcd.tmp", "results/toy/notes.tmp")


def begun(tree: Tree) -> None:
    tree.go("results/toy/.bundle.building/train/warm/seed0/model.safetensors")
    tree.go("deliverables/.done.freeze-0123abcd/suite.yaml", "deliverables/.done.freeze-89abcdef.old/suite.yaml")
    tree.stay("deliverables/done/SHA256SUMS", "deliverables/.lost.freeze-0123abcd.old/suite.yaml")


def states(tree: Tree) -> None:
    tree.training("small/train/warm/seed0")
    state(tree, "small/warm/seed0", goes=True)
    tree.training("toy/train/warm/seed1", whole=False)
    state(tree, "toy/warm/seed1", goes=False)  # its record does not fit: it will train again
    tree.training("toy/train/baseline/seed0")
    state(tree, "toy/baseline/seed0", goes=False, pid=os.getpid())
    state(tree, "toy/student/seed1", goes=False)  # half-way
    tree.training("toy/train/warm/seed0")
    state(tree, "toy/warm/seed0", goes=True, pid=1 << 70)
    state(tree, "toy/unused/seed0", goes=True)
    tree.stay("results/.state/toy/unused/seed0/mine.txt")


def store(tree: Tree) -> None:
    recipe = load_suite("toy", tree.root).recipe("student", 1).digest
    entry(tree, "1" * 64, checkpoint("asked for", recipe_sha256=recipe), goes=False)
    entry(tree, "2" * 64, checkpoint("nobody's", recipe_sha256="e" * 64), goes=True)
    same = checkpoint("toy/train/student/seed0")
    tree.training("toy/train/student/seed0")
    entry(tree, "3" * 64, same, goes=False)
    tree.go(f"{STORE}/.{KEY}.0123abcd/model.safetensors", f"{STORE}/.{'3' * 64}.89abcdef.old/entry.json")
    tree.stay(f"{STORE}/.{'4' * 64}.89abcdef.old/entry.json")
    tree.put(f"{STORE}/{KEY}.lock", b"", goes=False)
    tree.stay(f"{STORE}/README")


def unasked(tree: Tree) -> None:
    tree.training("toy/train/unused/seed0", goes=True)
    tree.training("toy/train/warm/seed9", goes=True)
    tree.training("toy/train/warm/seed0")
    tree.go("results/gone/eval/a/seed0/results.tsv", "results/gone/tables/summary.tsv", "results/gone/manifest.tsv")
    tree.go("results/gone/figures/summary_strip.png")
    tree.put("results/gone/figures/.snakemake_timestamp", b"", goes=True)
    tree.stay("results/gone/eval/a/seed0/notes.txt", "results/toy/tables/summary.tsv")


def indexed(tree: Tree) -> None:
    """Of a suite that is gone, but in the manifest: also what its checkpoint was made from."""
    tree.training("old/train/parent/seed0")
    digest = tree.training("old/train/a/seed0", materials=(("init", "train/parent/seed0/model.safetensors"),))
    tsv = tree.put("results/old/eval/a/seed0/results.tsv", goes=False)
    row = {"exp_id": "a_1", "n_runs": 1, "mean_AP": 1.0, "std_AP_pop": 0.0, "notes": None}
    row |= {"tsv_path": "results/old/eval/a/seed0/results.tsv", "tsv_sha256": tsv}
    row |= {"ckpts": "results/old/train/a/seed0/model.safetensors", "ckpt_sha256s": digest}
    write_tsv(tree.root / "manifests/results_manifest.tsv", [row], "results_manifest")
    tree.stays.add("manifests/results_manifest.tsv")
    tree.stay("results/old/tables/summary.tsv", "logs/old/tables.log", "logs/old/train/a/seed0.log")
    tree.training("old/train/forgotten/seed0", goes=True)


def staged(tree: Tree) -> None:
    digest = tree.put("deliverables/small/a/b.txt", goes=False)
    sums = f"{digest}  a/b.txt\n"
    root = tree.put("deliverables/small/SHA256SUMS", sums, goes=False)
    tree.go("results/small/bundle/a/b.txt")
    tree.put("results/small/bundle/SHA256SUMS", sums, goes=True)
    tree.stay("results/small/bundle/a/mine.txt")
    ledger = tree.root / "manifests/deliverables.tsv"
    rows = with_freeze(read_rows(ledger), "small", root, 1, 1, supersede=False)
    tree.put("manifests/deliverables.tsv", ledger_text(rows), goes=False)
    tree.put("results/toy/bundle/SHA256SUMS", sums, goes=False)  # not frozen


def rooms(tree: Tree) -> None:
    tree.go("results/.state/replay/room/results/toy/model.safetensors", "results/.state/replay/room/anything")
    tree.put("results/.state/replay/.room.lock", b"", goes=False)
    outside = tree.root.parent / f"{tree.root.name}-outside"
    outside.mkdir()
    (outside / "precious").write_text("not ours")
    link = tree.root / "results/.state/replay/room/data"
    link.symlink_to(outside)
    tree.goes.add("results/.state/replay/room/data")


def logs(tree: Tree) -> None:
    tree.go("logs/toy/train/unused/seed0.log", "logs/toy/evaluate/warm/seed7.log", "logs/gone/tables.log")
    tree.go("logs/gone/snakemake-20240131-120000-12.log")
    tree.stay("logs/toy/train/warm/seed0.log", "logs/toy/tables.log", "logs/data/toy.log", "logs/tests.xml")


def links(tree: Tree) -> None:
    """A directory of results that is a link: what it points to is not looked at."""
    other = tree.root.parent / f"{tree.root.name}-elsewhere"
    (other / "train/a/seed0").mkdir(parents=True)
    (other / "train/a/seed0/model.safetensors").write_text("not ours")
    (other / ".bundle.building").mkdir()
    (other / ".bundle.building/x").write_text("not ours")
    (tree.root / "results").mkdir(exist_ok=True)
    (tree.root / "results/linked").symlink_to(other)
    tree.stays.add("results/linked")


def never(tree: Tree) -> None:
    tree.stay("deliverables/other/SHA256SUMS", "data/unused/manifest.json", ".venv/bin/python", "results/README")
    tree.stay("results/.state/features/lock", f"results/.state/features/{KEY}.safetensors.bak")


KINDS: dict[str, Callable[[Tree], None]] = {
    kind.__name__: kind
    for kind in (temporaries, begun, states, store, unasked, indexed, staged, rooms, logs, links, never)
}


@pytest.fixture
def make(repo, tmp_path) -> Callable[..., Tree]:
    repo.write("Snakefile", "")

    def tree(*kinds: str) -> Tree:
        number = sum(1 for _ in tmp_path.glob("tree*"))
        made = Tree(Path(shutil.copytree(repo.root, tmp_path / f"tree{number}")))
        for kind in kinds:
            KINDS[kind](made)
        return made

    return tree


def check(tree: Tree) -> None:
    before = tree.files()
    assert tree.goes | tree.stays <= before.keys()
    outside = {path: path.read_bytes() for path in tree.root.parent.glob(f"{tree.root.name}-*/**/*") if path.is_file()}
    assert tree.collect() == []
    assert tree.files() == {name: data for name, data in before.items() if name not in tree.goes}
    assert {path: path.read_bytes() for path in outside} == outside
    assert find_garbage(tree.root, read_needs(tree.root)).items == [], "a second time finds nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_of_each_kind_goes_what_has_to(make, kind: str) -> None:
    check(make(kind))


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.sampled_from(sorted(KINDS)), min_size=2))
def test_of_any_mixture_goes_what_has_to(make, kinds: set[str]) -> None:
    check(make(*sorted(kinds)))


LOCKS = {
    "a training": ("states", "results/.state/small/warm/seed0/lock", "results/.state/small/warm/seed0"),
    "an entry of the store": ("store", f"{STORE}/{'2' * 64}.lock", f"{STORE}/{'2' * 64}"),
    "a replay": ("rooms", "results/.state/replay/.room.lock", "results/.state/replay/room"),
}


@pytest.mark.parametrize("user", LOCKS)
def test_what_a_process_holds_stays_until_it_lets_go(make, user: str) -> None:
    kind, lock, place = LOCKS[user]
    tree = make(kind)
    held = {name: data for name, data in tree.files().items() if name.startswith(f"{place}/")}
    with open(tree.root / lock, "ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert tree.collect() == [place]
        assert {name: data for name, data in tree.files().items() if name.startswith(f"{place}/")} == held
    assert tree.collect() == []
    assert not (tree.root / place).exists() or user == "a training"


def test_features_stay_until_no_training_is_left(make) -> None:
    tree = make()
    feature = f"results/.state/features/{KEY}.safetensors"
    jobs = [f"small/train/{name}/seed{seed}" for name, seed in load_suite("small", tree.root).train_jobs]
    for job in jobs[:-1]:
        tree.training(job)
    tree.stay(feature)
    check(tree)
    tree.training(jobs[-1])
    tree.stays.remove(feature)
    tree.goes.add(feature)
    check(tree)


def test_a_suite_that_cannot_be_read_keeps_everything_that_it_may_ask_for(make, capsys) -> None:
    tree = make("store", "unasked")
    (tree.root / "configs/suites/toy.yaml").write_text("name: [broken\n")
    needs = read_needs(tree.root)
    paths = {item.path for item in find_garbage(tree.root, needs).items}
    assert not any("/toy/" in path or path == f"{STORE}/{'2' * 64}" for path in paths) and paths
    assert main(["--root", str(tree.root), "gc", "--dry-run"]) == 0
    assert "configs/suites/toy.yaml" in capsys.readouterr().out


def test_a_damaged_manifest_stops_it(make, capsys) -> None:
    tree = make("unasked")
    tree.stay("manifests/results_manifest.tsv")
    before = tree.files()
    assert main(["--root", str(tree.root), "gc"]) == 2
    assert "results_manifest.tsv" in capsys.readouterr().err
    after = tree.files()
    after.pop(".snakemake/c2o.lock")
    assert after == before


def test_a_dry_run_changes_nothing_and_says_the_same_as_json(make, capsys) -> None:
    tree = make(*KINDS)
    before = tree.files()
    assert main(["--root", str(tree.root), "gc", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "would be removed; `c2o gc` removes it" in text
    assert "staged bundles that are frozen as deliverables: 1" in text
    assert main(["--root", str(tree.root), "gc", "-n", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert tree.files() == before
    going = [name for name in tree.goes if (tree.root / name).exists() and not (tree.root / name).is_symlink()]
    assert len(tree.goes) - len(going) <= 3  # links, and what the making of the tree has swept itself
    assert sum(group["files"] for group in told["groups"]) == len(going)
    expected = sum(len(before[name]) for name in going)
    assert sum(group["bytes"] for group in told["groups"]) == expected
    assert {"results/README", "results/linked", "results/gone/eval/a/seed0/notes.txt"} <= set(told["unknown_kept"])
    assert main(["--root", str(tree.root), "gc", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"]["bytes"] == expected


def test_a_file_that_became_a_link_since_it_was_found_is_left(make) -> None:
    tree = make("unasked")
    found = find_garbage(tree.root, read_needs(tree.root)).items
    place = tree.root / "results/toy/train/unused"
    place.rename(tree.root.parent / "moved")
    place.symlink_to(tree.root.parent / "moved")
    remove(tree.root, found)
    assert (tree.root.parent / "moved/seed0/model.safetensors").is_file()


def test_what_the_project_keeps_beside_results_is_not_unknown(make) -> None:
    tree = make("unasked")
    kept = ("results/.state/digests.sqlite3", "results/toy/.bundle.lock", "results/toy/frozen", "results/.toy.lock")
    tree.stay(*kept, "results/toy/frozen.txt")
    found = find_garbage(tree.root, read_needs(tree.root))
    assert "results/toy/frozen.txt" in found.unknown and not set(kept) & set(found.unknown)
    assert not set(kept) & {file.name for item in found.items for file in item.files}
