"""Which sources belong to which part, checked against what the sources really import."""

import ast
from pathlib import Path

import pytest

from c2o_evidence.code import CODE_PARTS, EXCLUDED, code_digest, code_files
from c2o_evidence.errors import DigestError

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = {
    "data": "c2o_model/data/digits.py",
    "train": "c2o_model/training/run.py",
    "evaluate": "c2o_model/evaluation/run.py",
    "timing": "c2o_model/evaluation/timing.py",
    "attention": "c2o_model/evaluation/attention_bench.py",
    "gallery": "c2o_model/gallery/build.py",
    "diffusers": "c2o_model/diffusers/evaluate.py",
    "mmdet": "c2o_model/mmdet3/evaluate.py",
}
BESIDE = {"diffusers": "evaluate", "mmdet": "evaluate"}  # the part whose digest counts beside theirs


def imported(path: Path) -> set[Path]:
    """Files of c2o_model that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    places = [ROOT / name.replace(".", "/") for name in names if name.split(".")[0] == "c2o_model"]
    return {file for place in places for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()}


def closure(entry: Path) -> set[str]:
    seen, todo = set(), [entry]
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo.extend(imported(path))
    return {path.relative_to(ROOT).as_posix() for path in seen}


@pytest.mark.parametrize("part", sorted(ENTRIES))
def test_every_imported_source_counts(part):
    entry = ROOT / ENTRIES[part]
    # An empty __init__.py cannot change a result.
    needed = {name for name in closure(entry) if (ROOT / name).read_text(encoding="utf-8").strip()}
    counted = {file for name in (part, *([BESIDE[part]] if part in BESIDE else [])) for file in code_files(ROOT, name)}
    assert needed - counted == set()


@pytest.mark.parametrize("part", sorted(CODE_PARTS))
def test_exclusions_name_real_files(part):
    for name in EXCLUDED.get(part, ()):
        assert (ROOT / name).is_file() or not (ROOT / name).parent.is_dir(), f"{name} is gone; take it off the list"


def test_digest_follows_content_and_names_only(repo):
    first = code_digest(repo.root, "train")
    repo.write("c2o_model/training/notes.txt", "not a source")
    repo.write("c2o_model/train_net.py", "not used by a rule\n")
    assert code_digest(repo.root, "train") == first
    repo.write("c2o_model/training/ema.py", "x = 1\n")
    second = code_digest(repo.root, "train")
    (repo.root / "c2o_model/training/ema.py").rename(repo.root / "c2o_model/training/average.py")
    assert len({first, second, code_digest(repo.root, "train")}) == 3


def test_files_are_listed_sorted_and_relative(repo):
    assert code_files(repo.root, "evaluate") == (
        "c2o_evidence/metrics.py",
        "c2o_model/config.py",
        "c2o_model/data/loader.py",
        "c2o_model/evaluation/run.py",
        "c2o_model/modeling/head.py",
    )


def test_a_part_without_sources_is_refused(tmp_path):
    with pytest.raises(
        DigestError, match="code part: 'attention' has no sources below c2o_model/graph, .*run from the"
    ):
        code_digest(tmp_path, "attention")
    with pytest.raises(DigestError, match="code part: 'tset' is unknown; known: data, train"):
        code_digest(tmp_path, "tset")
