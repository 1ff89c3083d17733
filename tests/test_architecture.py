"""The arrows of the house: who may import whom, read from the syntax tree, and how long a file may be.

Snakefile -> rules -> scripts -> (c2o_model, c2o_evidence). Neither package imports the other or the workflow.
Inside c2o_model: training/evaluation -> sampling -> modeling -> graph, diffusion -> config; data on its own.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 400
NOT_IN_EVIDENCE = ("torch", "torchvision", "detectron2", "fvcore", "iopath", "c2o_model")
NOT_IN_MODEL = ("c2o_evidence", "snakemake")
NOT_IN_PACKAGES = ("workflow", "benchmarks", "tests", "snakemake")

# A part of c2o_model may import its own modules, the leaf modules beside it, and the parts named here.
BELOW = {
    "diffusion": set(),
    "graph": set(),
    "data": set(),
    "modeling": {"graph", "diffusion"},
    "sampling": {"modeling", "graph", "diffusion"},
    "training": {"sampling", "modeling", "graph", "diffusion", "data"},
    "evaluation": {"sampling", "modeling", "graph", "diffusion", "data"},
    "gallery": {"evaluation", "sampling", "modeling", "graph", "diffusion", "data"},
    "mmdet3": {"evaluation", "training", "sampling", "modeling", "graph", "diffusion", "data"},
    "diffusers": {"evaluation", "sampling", "modeling", "graph", "diffusion", "data"},
}
# modules of c2o_model that may import every part
ENTRY_POINTS = {"train_net", "worker", "dry_run", "transfer", "imagenet", "predict", "__main__"}


def imports(source: str, module: str) -> list[tuple[int, str]]:
    """`(line, full dotted name)` of every import in `source`, wherever it stands; relative ones resolved."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".")[: -node.level]
                base = ".".join([*package, base] if base else package)
            found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
    return sorted(found)


def faults(source: str, module: str) -> list[str]:
    """Every import of `module` that goes against the arrows."""
    package, *inner = module.split(".")
    forbidden = {"c2o_evidence": NOT_IN_EVIDENCE, "c2o_model": NOT_IN_MODEL}[package] + NOT_IN_PACKAGES
    part = inner[0] if inner else ""
    bad = []
    for line, name in imports(source, module):
        top, *below = name.split(".")
        if top in forbidden:
            bad.append(f"{module}: line {line}: imports {name}")
        elif package == top == "c2o_model" and below and below[0] in BELOW and below[0] != part:
            allowed = set(BELOW) if part in ENTRY_POINTS else BELOW.get(part, set())
            if below[0] not in allowed:
                bad.append(f"{module}: line {line}: {part or 'the package'} imports {below[0]}")
    return bad


def module_name(path: Path) -> str:
    """`c2o_model/graph/attention.py` -> `c2o_model.graph.attention`; a package keeps its `__init__`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def sources(*directories: str) -> list[Path]:
    found = [path for name in directories for path in sorted((ROOT / name).rglob("*.py"))]
    assert found, f"no source file in {directories}"
    return found


@pytest.mark.parametrize("package", ["c2o_model", "c2o_evidence"])
def test_no_import_goes_against_the_arrows(package: str) -> None:
    bad = [fault for path in sources(package) for fault in faults(path.read_text("utf-8"), module_name(path))]
    assert not bad, "\n".join(bad)


def test_every_part_of_the_model_has_its_place_in_the_order() -> None:
    parts = {path.parent.name for path in (ROOT / "c2o_model").glob("*/__init__.py")}
    assert parts <= set(BELOW), f"say in BELOW what {sorted(parts - set(BELOW))} may import"


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("c2o_evidence.tables", "def f():\n    import torch.nn", ["line 2: imports torch.nn"]),
        (
            "c2o_evidence.verify.files",
            "from c2o_model.config import x",
            ["line 1: imports c2o_model.config.x"],
        ),
        ("c2o_model.graph.attention", "from c2o_evidence import tsv", ["line 1: imports c2o_evidence.tsv"]),
        ("c2o_model.config", "import snakemake", ["line 1: imports snakemake"]),
        (
            "c2o_model.graph.geometry",
            "from c2o_model.modeling import head",
            ["line 1: graph imports modeling"],
        ),
        ("c2o_model.graph.geometry", "from ..modeling import head", ["line 1: graph imports modeling"]),
        ("c2o_model.graph.geometry", "from .. import modeling", ["line 1: graph imports modeling"]),
        ("c2o_model.modeling.head", "import c2o_model.data.coco", ["line 1: modeling imports data"]),
        (
            "c2o_model.training.run",
            "from c2o_model import evaluation",
            ["line 1: training imports evaluation"],
        ),
        ("c2o_model.config", "from c2o_model.graph import x", ["line 1: config imports graph"]),
        ("c2o_model.__init__", "from c2o_model.graph import x", ["line 1: __init__ imports graph"]),
        ("c2o_model.training.run", "from c2o_model.sampling.sampler import s\nimport torch", []),
        ("c2o_model.graph.__init__", "from c2o_model.graph.attention import a", []),
        ("c2o_model.graph.__init__", "from .attention import a", []),
        ("c2o_model.train_net", "from c2o_model.training.run import train", []),
        ("c2o_model.modeling.head", "from c2o_model.determinism import derive_seed", []),
    ],
)
def test_the_check_finds_what_it_must(module: str, source: str, expected: list[str]) -> None:
    assert [fault.removeprefix(f"{module}: ") for fault in faults(source, module)] == expected


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in sources("c2o_model", "c2o_evidence", "workflow", "benchmarks", "requirements")
    }
    assert {name: count for name, count in lengths.items() if count > MAX_LINES} == {}


def test_the_snakefile_only_includes_and_names() -> None:
    assert len((ROOT / "Snakefile").read_text("utf-8").splitlines()) < 60
