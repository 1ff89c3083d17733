"""The table of features by stack: what the sources of the tests say, without running one."""

import re
from pathlib import Path

import pytest

from docs.generate import stacks
from docs.generate.stacks import FEATURES, NO, PAGE, STACKS, FeatureError, Shown, check, collect, page_part, with_part

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import pytest
pytestmark = [pytest.mark.slow, pytest.mark.stack_feature("swin", stack="mmdet")]

@pytest.mark.stack_feature("renewal", "ensemble", stack="diffusers")
def test_one(): ...

@pytest.mark.parametrize("k", [1, pytest.param(4, marks=pytest.mark.stack_feature("steps", stack="detectron2"))])
def test_two(k): ...
"""


def repository(tmp_path: Path, text: str) -> Path:
    (tmp_path / "tests").mkdir(exist_ok=True)
    (tmp_path / "tests/test_it.py").write_text(text)
    return tmp_path


def test_marks_are_read_wherever_they_stand(tmp_path: Path) -> None:
    one, two = "tests/test_it.py::test_one", "tests/test_it.py::test_two"
    assert collect(repository(tmp_path, TESTS)) == [
        Shown("steps", "detectron2", two),
        Shown("renewal", "diffusers", one),
        Shown("ensemble", "diffusers", one),
        Shown("swin", "mmdet", one),
        Shown("swin", "mmdet", two),
    ]


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ('stack_feature("flying", stack="mmdet")', "test_it.py:2: 'flying' is no feature; known: training"),
        ('stack_feature("swin", stack="keras")', "test_it.py:2: 'keras' is no stack; known: detectron2, diffusers"),
        ('stack_feature("swin")', r'test_it.py:2: write stack_feature\("FEATURE", stack="STACK"\)'),
        ('stack_feature(NAME, stack="mmdet")', "test_it.py:2: stack_feature takes words as they stand"),
    ],
)
def test_marks_that_say_nothing(tmp_path: Path, mark: str, message: str) -> None:
    text = f"import pytest\n@pytest.mark.{mark}\ndef test_it(): ...\n"
    with pytest.raises(FeatureError, match=message):
        collect(repository(tmp_path, text))
    with pytest.raises(FeatureError, match="test_it.py:2: stack_feature is on no test; put it above one"):
        collect(repository(tmp_path, text.replace("test_it()", "helper()")))


def test_neither_yes_nor_no_is_refused_and_so_is_both() -> None:
    everything = [Shown(feature, stack, "t") for feature in FEATURES for stack in STACKS]
    check(everything, {})
    without = [item for item in everything if (item.feature, item.stack) != ("swin", "mmdet")]
    check(without, {("swin", "mmdet"): "has no Swin"})
    with pytest.raises(
        FeatureError, match='swin in mmdet: mark a test with stack_feature."swin", stack="mmdet"., or say'
    ):
        check(without, {})
    with pytest.raises(FeatureError, match="swin in mmdet: a test shows it, and NO has a reason why not; remove that"):
        check(everything, {("swin", "mmdet"): "has no Swin"})
    with pytest.raises(FeatureError, match="is no feature and stack"):
        check(everything, {("swim", "mmdet"): "has no Swin"})


def test_the_tables_by_hand() -> None:
    shown = [Shown("swin", "mmdet", "a.py::test_a"), Shown("swin", "mmdet", "b.py::test_b")]
    part = page_part(shown, {("swin", "diffusers"): "none | at all"})
    assert "| backbone: Swin | no | no | yes |" in part
    assert "| backbone: Swin | Diffusers | none \\| at all |" in part
    assert "| backbone: Swin | MMDetection 3 | `a.py::test_a` and 1 more |" in part
    with pytest.raises(FeatureError, match="docs/stacks.md: lacks the lines"):
        with_part("nothing", part)


def test_the_page_is_what_the_tests_say_now() -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == stacks.written(ROOT), "python -m docs.generate.stacks"


def test_every_yes_names_a_test_that_is_there() -> None:
    there = collect(ROOT)
    for test in {item.test for item in there}:
        path, _, name = test.partition("::")
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), test
    yes = len({(item.feature, item.stack) for item in there})
    assert yes + len(NO) == len(FEATURES) * len(STACKS)
