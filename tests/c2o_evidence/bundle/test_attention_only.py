"""A suite without rows: its bundle holds the benchmark alone and verifies; and what a checkpoint says of its recipe."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from c2o_evidence.bundle import stage_bundle, write_sha256sums
from c2o_evidence.code import code_digest
from c2o_evidence.digests import sha256_file
from c2o_evidence.errors import EvidenceError
from c2o_evidence.figures import write_figures
from c2o_evidence.records import write_record
from c2o_evidence.suite import load_suite
from c2o_evidence.tables import write_manifest, write_tables
from c2o_evidence.verify import verify


@pytest.fixture
def bench(root: Path) -> Path:
    """The bundle of a suite with nothing but attention, of the kernels that the suite `toy` has measured."""
    text = "name: bench\nattention: {nodes: [100], heads: 4, dim: 64, repeats: 2}\n"
    (root / "configs/suites/bench.yaml").write_text(text)
    suite, base, lock = load_suite("bench", root), root / "results/bench", root / "requirements/lock.txt"
    measured = base / "attention/attention.tsv"
    measured.parent.mkdir(parents=True)
    shutil.copy(root / "results/toy/attention/attention.tsv", measured)

    def record(rule: str, outputs: dict[str, Path], digest: str) -> None:
        write_record(
            base / rule / "record.json",
            rule=rule,
            inputs={},
            outputs=outputs,
            parameters={"suite": "bench", "digest": digest},
            lock_sha256=sha256_file(lock),
            code_sha256=code_digest(root, rule),
            started="2024-01-31T12:00:00Z",
            suite_dir=base,
            root=root,
        )

    record("attention", {"attention": measured}, suite.attention_digest())
    record("tables", {path.name: path for path in write_tables(base, suite, root)}, suite.tables_digest())
    write_figures(base, suite)
    write_manifest(base, suite)
    stage_bundle(base, base / "bundle", suite, data_dir=None, lock=lock)
    return base / "bundle"


def test_it_verifies_and_holds_no_data_and_no_runs(bench: Path) -> None:
    report = verify(bench, "tables", jobs=1)
    assert [str(finding) for finding in report.findings] == [] and report.counts["runs"] == 0
    parts = {path.relative_to(bench).parts[0] for path in bench.rglob("*") if path.is_dir()}
    assert parts == {"attention", "environment", "figures", "tables"}
    drawn = ["attention_cost.pdf", "attention_cost.png", "attention_cost.svg"]
    assert sorted(p.name for p in (bench / "figures").iterdir()) == drawn
    page = (bench / "report.html").read_text()
    assert "a benchmark without trained models" in page and "train seeds" not in page


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda b: (b / "attention/attention.tsv").write_text("impl\n"), "attention/attention.tsv"),
        (lambda b: (b / "data").mkdir() or (b / "data/val.json").write_text("{}"), "data/val.json"),
        (lambda b: (b / "tables/runs.tsv").unlink(), "tables/runs.tsv"),
    ],
)
def test_what_was_changed_is_found(bench: Path, change: Callable[[Path], None], finding: str) -> None:
    change(bench)
    write_sha256sums(bench)
    found = {item.path for item in verify(bench, "tables", jobs=1).findings}
    assert finding in found


def test_a_suite_with_rows_needs_its_data(root: Path) -> None:
    suite, base = load_suite("toy", root), root / "results/toy"
    with pytest.raises(EvidenceError, match="the suite toy has rows, but no data set is given"):
        stage_bundle(base, base / "other", suite, data_dir=None, lock=root / "requirements/lock.txt")


def test_a_checkpoint_of_another_recipe_is_found(bundle: Path) -> None:
    """Checkpoints carry no name of an experiment: suites share them. Their recipe digest binds them to their record."""
    model, record = (bundle / "train/student/seed1" / name for name in ("model.safetensors", "record.json"))
    for said, kinds in (("a" * 64, []), ("b" * 64, ["swapped"])):
        save_file(load_file(model), model, metadata={"train_seed": "1", "recipe_sha256": said})
        document = json.loads(record.read_text())
        document["parameters"]["recipe"] = "a" * 64
        record.write_text(json.dumps(document))
        write_sha256sums(bundle)
        about = [f for f in verify(bundle, "tables", jobs=1).findings if f.column.startswith("recipe")]
        assert [f.kind for f in about if f.path.endswith("model.safetensors")] == kinds
        assert [(f.kind, f.path) for f in about if f.path.endswith(".json")] == [
            ("stale", "train/student/seed1/record.json")  # it does not follow from suite and configurations
        ]
