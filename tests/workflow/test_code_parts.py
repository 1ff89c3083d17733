"""Every source that a job imports counts in the digest of its parameters: a change of it runs the job again."""

import ast
from pathlib import Path

import pytest

from c2o_evidence.code import EXCLUDED, code_files

ROOT = Path(__file__).resolve().parents[2]

# Pinned threads and instruction sets change no integer arithmetic, and of a benchmark the speed only; a job that ends
# with its parent leaves no result.
AROUND = {"c2o_model/determinism.py", "c2o_model/lifeline.py"}
DECIDES_NOTHING = {"data": AROUND, "attention": AROUND}


def module_file(name: str) -> Path | None:
    """File of a dotted name, if it is a module or package of c2o_model."""
    place = ROOT.joinpath(*name.split("."))
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if name.split(".")[0] == "c2o_model" and path.is_file():
            return path
    return None


def imported(path: Path) -> set[Path]:
    """The files of c2o_model that a file imports, with the packages above them."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    names |= {".".join(name.split(".")[:n]) for name in names for n in range(1, len(name.split(".")))}
    return {file for name in names if (file := module_file(name)) is not None}


@pytest.mark.parametrize("part", ["data", "train", "evaluate", "timing", "attention", "gallery"])
def test_the_digest_of_a_part_covers_all_that_its_script_imports(part: str) -> None:
    scripts = ROOT / "workflow" / "scripts"
    reached: set[Path] = set()
    ahead = imported(scripts / f"{part}.py") | imported(scripts / "job.py")
    if (model := scripts / f"{part}_model.py").is_file():
        ahead |= imported(model)
    while ahead:
        reached |= ahead
        ahead = {file for path in ahead for file in imported(path)} - reached
    used = {path.relative_to(ROOT).as_posix() for path in reached if path.name != "__init__.py"}
    assert len(used) > 1, "the search has lost its way"
    assert used - set(code_files(ROOT, part)) - set(EXCLUDED.get(part, ())) == DECIDES_NOTHING.get(part, set())
