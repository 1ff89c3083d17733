"""The table of docs/stacks.md: which feature exists in which stack, by the tests that show it.

    python -m docs.generate.stacks        # writes it into the page

A test says so with `@pytest.mark.stack_feature("renewal", stack="diffusers")`; the sources of the tests are read, none
is run. What no test shows is a "no", and needs a reason here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from docs.generate.markdown import cell, code, table

ROOT = Path(__file__).resolve().parents[2]
PAGE = "docs/stacks.md"
MARK = "stack_feature"
BEGIN = "<!-- stack features: written by `python -m docs.generate.stacks` -->"
END = "<!-- stack features end -->"
STACKS = {"detectron2": "Detectron2", "diffusers": "Diffusers", "mmdet": "MMDetection 3"}
FEATURES = {
    "training": "training",
    "losses": "losses of the detector",
    "distillation": "sampler distillation",
    "processes": "training in several processes or on several GPUs",
    "steps": "sampling in k steps",
    "renewal": "box renewal",
    "ensemble": "ensemble over steps",
    "restarts": "random restarts",
    "guidance": "quality guidance",
    "labels_mask": "D3PM labels, mask kernel",
    "labels_uniform": "D3PM labels, uniform kernel",
    "labels_hard": "D3PM labels as hard states",
    "labels_gaussian": "Gaussian label state",
    "aniso_noise": "anisotropic noise (ANISO_NOISE)",
    "init_state": "sampling from a state of one's own (init_state)",
    "callback": "callback after each step",
    "checkpoint_from_c2o": "checkpoints of C2O are read",
    "checkpoint_to_c2o": "checkpoints are written for C2O",
    "evaluation": "evaluation into TSV, record and manifest",
    "small_resnet": "backbone: small ResNet",
    "resnet": "backbone: ResNet-50, ResNet-101",
    "swin": "backbone: Swin",
    "efficientnet": "backbone: EfficientNet-Lite0",
}
SAMPLES_ONLY = (
    "the pipeline samples; losses are there for a loop of one's own, else train with Detectron2 or MMDetection"
)
NO: Mapping[tuple[str, str], str] = {
    ("training", "diffusers"): SAMPLES_ONLY,
    ("distillation", "diffusers"): SAMPLES_ONLY,
    ("processes", "diffusers"): SAMPLES_ONLY,
    (
        "checkpoint_to_c2o",
        "diffusers",
    ): "nothing is trained there, so the weights are those of a checkpoint of C2O already",
    ("distillation", "mmdet"): "a student needs its teacher's sampler; train it with `train_net`, then convert it",
    (
        "init_state",
        "mmdet",
    ): "predict mode draws the nodes by image and eval seed; tensor mode takes nodes, for one step",
    ("callback", "mmdet"): "mmengine's hooks see batches, not sampling steps",
    ("efficientnet", "mmdet"): "MMDetection has no such backbone",
}
"""Why a stack does not have a feature, by (feature, stack)."""


class FeatureError(Exception):
    """A mark or a reason that does not fit; the message says where and what to do."""


@dataclass(frozen=True)
class Shown:
    """That a test shows a feature in a stack. test: `tests/…/test_x.py::test_y`."""

    feature: str
    stack: str
    test: str


def collect(root: Path) -> list[Shown]:
    """What the tests say, sorted; each feature, stack and test once.

    Raises:
        FeatureError: a mark names an unknown feature or stack, or is on no test.
    """
    found: set[tuple[str, str, str]] = set()
    for path in sorted((root / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if MARK in text:
            name = path.relative_to(root).as_posix()
            found |= {(s.feature, s.stack, s.test) for s in _of_file(ast.parse(text), name)}
    order, stacks = list(FEATURES), list(STACKS)
    key = sorted(found, key=lambda one: (order.index(one[0]), stacks.index(one[1]), one[2]))
    return [Shown(*one) for one in key]


def _of_file(tree: ast.Module, name: str) -> Iterator[Shown]:
    whole = [node.value for node in tree.body if isinstance(node, ast.Assign) and _is_pytestmark(node)]
    tests = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    decorators = [item for test in tests for item in test.decorator_list]
    marks = {id(mark) for part in (*whole, *decorators) for mark in _marks(part)}
    for mark in _marks(tree):
        if id(mark) not in marks:
            raise FeatureError(f"{name}:{mark.lineno}: {MARK} is on no test; put it above one")
    for test in tests:
        for part in (*whole, *test.decorator_list):
            for mark in _marks(part):
                yield from _of_mark(mark, f"{name}:{mark.lineno}", f"{name}::{test.name}")


def _is_pytestmark(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets)


def _marks(tree: ast.AST) -> list[ast.Call]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == MARK]


def _of_mark(mark: ast.Call, place: str, test: str) -> Iterator[Shown]:
    values = [_text(node, place) for node in mark.args]
    named = {item.arg: _text(item.value, place) for item in mark.keywords}
    if not values or list(named) != ["stack"]:
        raise FeatureError(f'{place}: write {MARK}("FEATURE", stack="STACK")')
    for what, value, known in (("stack", named["stack"], STACKS), *(("feature", v, FEATURES) for v in values)):
        if value not in known:
            raise FeatureError(f"{place}: {value!r} is no {what}; known: {', '.join(known)}")
    for value in values:
        yield Shown(value, named["stack"], test)


def _text(node: ast.expr, place: str) -> str:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        raise FeatureError(f"{place}: {MARK} takes words as they stand, so that they can be read without running")
    return node.value


def check(shown: list[Shown], reasons: Mapping[tuple[str, str], str]) -> None:
    """Every feature is shown in a stack, or there is a reason why not.

    Raises:
        FeatureError: one is neither, or both.
    """
    there = {(item.feature, item.stack) for item in shown}
    for feature in FEATURES:
        for stack in STACKS:
            pair = (feature, stack)
            if pair in there and pair in reasons:
                raise FeatureError(f"{feature} in {stack}: a test shows it, and NO has a reason why not; remove that")
            if pair not in there and not reasons.get(pair):
                raise FeatureError(f'{feature} in {stack}: mark a test with {MARK}("{feature}", stack="{stack}"), or '
                                   "say in NO why it is not there")  # fmt: skip
    for pair in reasons:
        if pair[0] not in FEATURES or pair[1] not in STACKS:
            raise FeatureError(f"NO: {pair} is no feature and stack")


def page_part(shown: list[Shown], reasons: Mapping[tuple[str, str], str]) -> str:
    """The tables: features by stack, why not, and the tests."""
    there = {(item.feature, item.stack) for item in shown}
    rows = [
        (title, *("yes" if (feature, stack) in there else "no" for stack in STACKS))
        for feature, title in FEATURES.items()
    ]
    parts = [table(("feature", *STACKS.values()), rows)]
    if reasons:
        order = [(feature, stack) for feature in FEATURES for stack in STACKS if (feature, stack) in reasons]
        why = [(FEATURES[feature], STACKS[stack], cell(reasons[feature, stack])) for feature, stack in order]
        parts.append("Why not:\n\n" + table(("feature", "stack", "why"), why))
    tests: dict[tuple[str, str], list[str]] = {}
    for item in shown:
        tests.setdefault((item.feature, item.stack), []).append(item.test)
    lines = [
        (FEATURES[feature], STACKS[stack], code(found[0]) + (f" and {len(found) - 1} more" if found[1:] else ""))
        for (feature, stack), found in tests.items()
    ]
    parts.append('Each "yes" is shown by a test:\n\n' + table(("feature", "stack", "test"), lines))
    return "\n".join(parts)


def with_part(text: str, part: str) -> str:
    """The page with the part put between its marks. Raises FeatureError where it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise FeatureError(f"{PAGE}: lacks the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{part}\n{END}{after}"


def written(root: Path = ROOT) -> str:
    """The page as it should be. Raises FeatureError."""
    shown = collect(root)
    check(shown, NO)
    return with_part((root / PAGE).read_text(encoding="utf-8"), page_part(shown, NO))


if __name__ == "__main__":
    (ROOT / PAGE).write_text(written(), encoding="utf-8")
