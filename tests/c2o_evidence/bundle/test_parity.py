"""How far other stacks are from the core: by hand, and in a bundle, where level `tables` computes it again."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from c2o_evidence.bundle import bundle_files, stage_bundle, write_sha256sums
from c2o_evidence.code import code_files
from c2o_evidence.crate import write_crate
from c2o_evidence.detections import Detections
from c2o_evidence.errors import TableError
from c2o_evidence.parity import Difference, build_parity, write_parity
from c2o_evidence.show import show
from c2o_evidence.suite import load_suite
from c2o_evidence.suite_stack import PARITY
from c2o_evidence.tables import write_manifest, write_tables
from c2o_evidence.tsv import read_tsv
from c2o_evidence.verify import verify
from tests.c2o_evidence.bundle import conftest as toy

ROWS = """\
rows:
  - {exp_id: core_1, experiment: baseline, sample_step: 1, label: "Core"}
  - {exp_id: other_1, experiment: baseline, sample_step: 1, label: "Other", stack: diffusers}
  - {exp_id: alone_4, experiment: baseline, sample_step: 4, stack: diffusers}
"""
STACK = {
    "c2o_model/diffusers/evaluate.py": "evaluate = 1\n",
    "requirements/extras.txt": "diffusers==0.42.1 \\\n    --hash=sha256:00\n",
    "c2o_evidence/parity.py": "parity = 1\n",
}
MOVED_PX, LOWER = np.float32(0.25), np.float32(0.001)  # of images of 64 x 64 px


def found(*rows: tuple[int, list[float], float, int]) -> Detections:
    """From (image, box, score, label)."""
    names = ("image_id", "box", "score", "label")
    return Detections.from_arrays(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


SIZES = {1: (100.0, 50.0), 2: (10.0, 10.0)}
CORE = found(
    (1, [10, 10, 20, 20], 0.9, 0),
    (1, [11, 10, 20, 20], 0.9, 0),
    (1, [60, 10, 90, 40], 0.5, 1),
    (2, [1, 1, 2, 2], 0.5, 0),
)


def test_a_difference_by_hand() -> None:
    """Of two boxes that are 1 px apart each takes the nearer partner, whatever their order in the file."""
    here = found(
        (1, [11, 10.25, 20, 20], 0.9, 0),  # 0.25 px of 50
        (1, [10, 10, 20.5, 20], 0.898, 0),  # 0.5 px of 100
        (1, [60, 10, 90, 40], 0.5, 2),  # another class: no partner, nor has the core's
        (2, [1, 1, 2, 2.25], 0.5, 0),  # 0.025 of the height: too far
    )
    difference = Difference()
    difference.add(here, CORE, SIZES)
    difference.add(CORE, CORE, SIZES)
    assert (difference.runs, difference.equal_runs, difference.detections, difference.unpaired) == (2, 1, 8, 4)
    assert difference.score == pytest.approx(0.002, abs=1e-7) and difference.box == pytest.approx(0.005, abs=1e-7)


def test_nothing_found_on_either_side() -> None:
    """An empty run equals an empty one; beside one with detections all of them lack a partner."""
    nothing = Detections.from_arrays({"image_id": [], "box": [], "score": [], "label": []})
    difference = Difference()
    for here, core in ((nothing, nothing), (nothing, CORE), (CORE, nothing)):
        difference.add(here, core, SIZES)
    assert (difference.runs, difference.equal_runs, difference.detections, difference.unpaired) == (3, 1, 4, 8)
    assert (difference.score, difference.box) == (0.0, 0.0)


def test_a_difference_of_what_cannot_be_compared() -> None:
    with pytest.raises(TableError, match="image 3 is not in the annotations; evaluate again"):
        Difference().add(found((3, [0, 0, 1, 1], 0.5, 0)), CORE, SIZES)


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(12)), st.integers(0, 2**32 - 1))
def test_the_order_of_detections_is_no_difference(order: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 10, (12, 2, 2)), axis=1).reshape(-1, 4)
    arrays = {"image_id": rng.integers(1, 3, 12), "box": corners, "score": rng.uniform(size=12)}
    arrays["label"] = rng.integers(0, 3, 12)
    one = Detections.from_arrays(arrays)
    other = Detections.from_arrays({name: np.asarray(values)[list(order)] for name, values in arrays.items()})
    difference = Difference()
    difference.add(other, one, SIZES)
    assert (difference.unpaired, difference.score, difference.box) == (0, 0.0, 0.0)


@pytest.fixture(scope="module")
def stacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the results of a suite whose second row is its first one, slightly moved; and the bundle."""
    root = tmp_path_factory.mktemp("stacked")
    document = yaml.safe_load(toy.FILES["configs/suites/toy.yaml"]) | yaml.safe_load(ROWS)
    for name in ("main_table", "comparisons", "speedups", "timing", "attention", "gallery"):
        document.pop(name)
    document["experiments"].pop("student")
    for name, text in {**toy.FILES, **STACK, "configs/suites/toy.yaml": yaml.safe_dump(document)}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name in code_files(toy.ROOT, "tables"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(toy.ROOT / name, root / name)
    dataset = toy.write_data(root / "data" / "toy")
    suite, base = load_suite("toy", root), root / "results" / "toy"
    made, write = toy.detections_of, toy.record

    def detections_of(truth: dict, experiment: int, number: int, *seeds: int) -> Detections:
        core = made(truth, experiment, 0, *seeds)
        return core if number == 0 else Detections(core.image_id, core.box + MOVED_PX, core.score - LOWER, core.label)

    def record(root: Path, base: Path, folder: Path, rule: str, inputs: dict, outputs: dict, parameters: dict) -> None:
        if rule == "evaluate":
            told = {"rows": ["other_1", "alone_4"], "sha256": suite.stack_digest("diffusers")}
            parameters = parameters | {"stacks": {"diffusers": told | {"versions": {"diffusers": "0.42.1"}}}}
        write(root, base, folder, rule, inputs, outputs, parameters)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy, "detections_of", detections_of)
        patch.setattr(toy, "record", record)
        for job in suite.train_jobs:
            toy.train(root, base, suite, *job)
        for job in suite.eval_jobs:
            toy.evaluate(root, base, suite, *job, dataset)
    places = [(name, seed, base / "eval" / name / f"seed{seed}") for name, seed in suite.eval_jobs]
    read = {f"{n}{s}.{f}": p / f for n, s, p in places for f in ("results.tsv", "detections.safetensors")}
    read["data"] = root / toy.DATA
    tables = write_tables(base, suite, root / "data" / "toy")
    told = {"digest": suite.tables_digest()}
    write(root, base, base / "tables", "tables", read, {path.name: path for path in tables}, told)
    parity = {"parity": write_parity(base, suite, root / "data/toy/val.json")}
    write(root, base, base / "parity", "parity", read, parity, {"digest": suite.parity_digest()})
    toy.write_figures(base, suite)
    write_manifest(base, suite)
    stage_bundle(base, base / "bundle", suite, data_dir=root / "data" / "toy", lock=root / "requirements" / "lock.txt")
    return root


@pytest.fixture
def parity_bundle(stacked: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stacked / "results/toy/bundle", tmp_path / "toy"))


def reseal(bundle: Path, root: Path) -> None:
    (bundle / "ro-crate-metadata.json").unlink()
    write_crate(bundle, load_suite("toy", root))
    write_sha256sums(bundle)


def test_a_bundle_holds_the_table_and_verifies(stacked: Path, parity_bundle: Path) -> None:
    (row,) = read_tsv(parity_bundle / PARITY, "parity")
    runs = {
        (r["exp_name"], r["train_seed"], r["eval_seed"]): r
        for r in read_tsv(parity_bundle / "tables/runs.tsv", "results")
    }
    moved = [abs(runs["other_1", s, e]["AP"] - runs["core_1", s, e]["AP"]) for s in (0, 1) for e in (0, 1)]
    assert row["max_AP_diff"] == max(moved)
    assert row["max_score_diff"] == pytest.approx(LOWER, rel=1e-3) and row["max_box_diff"] == pytest.approx(
        0.25 / 64, rel=1e-3
    )
    assert [row[name] for name in ("exp_id", "core", "stack")] == ["other_1", "core_1", "Diffusers"]
    assert [row[name] for name in ("n_runs", "equal_runs", "n_detections", "unpaired")] == [4, 0, 48, 0]
    report = verify(parity_bundle, "tables", jobs=1)
    assert [str(finding) for finding in report.findings] == []
    alone = subprocess.run([sys.executable, "-I", "-S", parity_bundle / "verify.py"], capture_output=True, text=True)
    assert alone.returncode == 0, alone.stdout


def test_only_a_suite_with_both_has_the_table(stacked: Path, built: Path) -> None:
    assert {PARITY, "parity/record.json"} <= set(bundle_files(load_suite("toy", stacked)))
    assert not [name for name in bundle_files(load_suite("toy", built)) if "parity" in name]


def test_an_edited_cell_is_found(stacked: Path, parity_bundle: Path) -> None:
    path = parity_bundle / PARITY
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    column = lines[0].index("max_box_diff")
    old, lines[1][column] = lines[1][column], "0.0"
    path.write_text("".join("\t".join(line) + "\n" for line in lines))
    reseal(parity_bundle, stacked)
    (finding,) = [f for f in verify(parity_bundle, "tables", jobs=1).findings if f.path == PARITY]
    assert (finding.kind, finding.row, finding.column) == ("row-edited", "exp_id=other_1", "max_box_diff")
    assert (finding.expected, finding.found) == (old, "0.0")


def test_a_row_that_is_said_to_be_of_another_stack_is_found(stacked: Path, parity_bundle: Path) -> None:
    """The records of the evaluations know which rows were of which stack."""
    path = parity_bundle / "suite.yaml"
    text = path.read_text()
    assert text.count("stack: diffusers") == 2
    path.write_text(text.replace("  stack: diffusers\n", "", 1))
    reseal(parity_bundle, stacked)
    kinds = {(f.kind, f.path) for f in verify(parity_bundle, "tables", jobs=1).findings}
    assert ("extra", PARITY) in kinds and ("stale", "suite.yaml") in kinds


def test_a_run_that_is_not_there(stacked: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(stacked / "results/toy", tmp_path / "toy"))
    (base / "eval/baseline/seed1/detections.safetensors").write_bytes(
        (base / "eval/baseline/seed0/detections.safetensors").read_bytes()
    )
    suite = load_suite("toy", stacked)
    runs = [run for run in read_tsv(base / "tables/runs.tsv", "results") if run["eval_seed"] == 0]
    with pytest.raises(TableError, match="seed0: other_1/1: this run is not there; evaluate again"):
        build_parity(base, suite, stacked / "data/toy/val.json", runs)


def test_show_tells_stacks_and_their_distance(parity_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(str(parity_bundle), parity_bundle) == 0
    told = capsys.readouterr().out
    assert "stacks, each beside the core's row" in told and "Diffusers" in told
    page = (parity_bundle / "report.html").read_text()
    assert "Stacks" in page and "other_1" in page and "Sampled by Diffusers (diffusers 0.42.1)." in page
