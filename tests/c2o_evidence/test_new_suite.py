"""`c2o new-suite`: the file is a suite at once, and so it is with each block that is switched on."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from c2o_evidence.cli import main
from c2o_evidence.new_suite.command import TARGETS
from c2o_evidence.suite import Suite, load_suite

ROOT = Path(__file__).resolve().parents[2]
WITH_ROWS = sorted(path.stem for path in (ROOT / "configs/suites").glob("*.yaml") if path.stem != "attention_bench")
OFF = re.compile(r"( *)#(?! )(.*)")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configurations of this checkout, copied, with its sources."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "configs", root / "configs")
    for name in ("c2o_model", "c2o_evidence", "workflow", "Snakefile"):
        (root / name).symlink_to(ROOT / name)
    return root


@pytest.fixture(autouse=True)
def cleared(checkout: Path) -> Iterator[None]:
    """No suite and no deliverable of one test is there in the next."""
    before = set((checkout / "configs/suites").iterdir())
    yield
    for path in set((checkout / "configs/suites").iterdir()) - before:
        path.unlink()
    shutil.rmtree(checkout / "deliverables", ignore_errors=True)


def new_suite(checkout: Path, *arguments: str) -> int:
    return main(["--root", str(checkout), "new-suite", *arguments])


def recipes(suite: Suite) -> set[str]:
    return {suite.recipe(*job).digest for job in suite.train_jobs}


def blocks(lines: list[str]) -> list[range]:
    """Runs of lines that are switched off, as indices."""
    found, start = [], None
    for index, line in enumerate([*lines, ""]):
        if OFF.fullmatch(line):
            start = index if start is None else start
        elif start is not None:
            found.append(range(start, index))
            start = None
    return found


@pytest.mark.parametrize("origin", WITH_ROWS)
def test_it_is_the_suite_it_is_made_from_under_another_name(checkout: Path, origin: str) -> None:
    assert new_suite(checkout, "mine", "--from", origin) == 0
    made, base = load_suite("mine", checkout), load_suite(origin, checkout)
    own, of_base = made.to_dict(), base.to_dict()
    of_base["experiments"] = {name: spec for name, spec in of_base["experiments"].items() if name in base.needed}
    for key in of_base.keys() - {"name", "title", "description"}:
        assert own[key] == of_base[key], key
    assert own.keys() == of_base.keys() | {"title", "description"}
    assert recipes(made) == recipes(base), "what is the same is trained once"
    assert load_suite("mine_reduced", checkout).train_seeds == (0, 1)
    text = (checkout / "configs/suites/mine.yaml").read_text()
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("origin", ["step1_5seed", "voc_convergence", "step_curve"])
def test_each_block_may_be_switched_on(checkout: Path, origin: str) -> None:
    assert new_suite(checkout, "mine", "--from", origin) == 0
    path = checkout / "configs/suites/mine.yaml"
    lines = path.read_text().splitlines()
    plain = load_suite("mine", checkout)
    found = blocks(lines)
    assert len(found) >= 5
    changed = []
    for block in found:
        switched = [OFF.sub(r"\1\2", line) if index in block else line for index, line in enumerate(lines)]
        path.write_text("\n".join(switched) + "\n")
        suite = load_suite("mine", checkout)
        recipes(suite)
        load_suite("mine_reduced", checkout)
        changed.append(suite.to_dict() != plain.to_dict())
        if "arms:" in switched[block.start]:
            idea, control = suite.experiment("own_idea"), suite.experiment("own_control")
            assert (idea.model, idea.init, idea.teacher) == (control.model, control.init, control.teacher)
            assert [(c.a, c.b) for c in suite.comparisons][-1] == ("own_idea_1", "own_control_1")
            configs = [suite.config_of(name)["SOLVER"] for name in ("own_idea", "own_control")]
            assert configs[0]["MAX_ITER"] == configs[1]["MAX_ITER"]
            assert configs[0]["BASE_LR"] == configs[1]["BASE_LR"] / 2
    assert all(changed), "a block that changes nothing teaches nothing"
    everything = [OFF.sub(r"\1\2", line) for line in lines]
    path.write_text("\n".join(everything) + "\n")
    recipes(load_suite("mine", checkout))


def test_every_key_of_a_suite_is_there_and_explained(checkout: Path) -> None:
    assert new_suite(checkout, "mine") == 0
    text = (checkout / "configs/suites/mine.yaml").read_text()
    keys = re.findall(r"(?m)^#?(\w+):", text)
    assert keys[:7] == ["name", "title", "description", "dataset", "train_seeds", "eval_seeds", "experiments"]
    assert {"rows", "main_table", "comparisons", "speedups", "timing", "attention", "tolerances"} <= set(keys)
    assert {"arms", "reduced", "processes"} <= set(keys) and len(keys) == len(set(keys))
    paragraphs = text.split("\n\n")
    assert [part[:40] for part in paragraphs if not part.startswith("# ")] == []


def test_it_says_what_is_shared_and_what_to_type_next(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert new_suite(checkout, "mine") == 0
    out = capsys.readouterr().out
    assert "written: configs/suites/mine.yaml, a copy of step1_5seed with every key explained\n" in out
    assert "26 trainings (26 of them are step1_5seed's, and done once for both), 200 runs\n" in out
    typed = ["c2o run mine_reduced", "snakemake -n deliverables/mine", "c2o run mine"]
    assert re.findall(r"(?m)^  ((?:c2o|snakemake) \S+(?: \S+)?)  ", out) == typed


def test_another_data_set(checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout / "configs")
    assert new_suite(checkout, "mine", "--dataset", "data/digits_mini.yaml") == 0
    suite = load_suite("mine", checkout)
    assert suite.dataset == "configs/data/digits_mini.yaml"
    assert recipes(suite).isdisjoint(recipes(load_suite("step1_5seed", checkout)))
    out = capsys.readouterr().out
    assert "26 trainings (0 of them are step1_5seed's" in out and "NUM_CLASSES must be the number of classes of" in out
    assert (
        "dataset: configs/data/digits_mini.yaml"
        not in ((checkout / "configs/suites/mine.yaml").read_text().split("reduced:")[1])
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["my suite"], "'my suite' is no name for a suite; use up to 80 letters, digits, '_' and '-', beginning with"),
        (["../evil"], "'../evil' is no name for a suite"),
        (["v1.2"], "'v1.2' is no name for a suite"),
        (["-x"[1:] * 81], "is no name for a suite"),
        (["mine_reduced"], "mine_reduced: names that end in _reduced mean the small budget of a suite"),
        (["test"], "test: `make test` does something else; take another name"),
        (["quick"], "configs/suites/quick.yaml: is there already and is left as it is; edit it, or take another name"),
        (["mine", "--from", "step1"], "configs/suites/step1.yaml: does not exist; did you mean 'step1_5seed'?"),
        (["mine", "--from", "attention_bench"], "evaluates nothing; give --from a suite that has rows"),
        (["mine", "--dataset", "configs/data/digit.yaml"], "--dataset configs/data/digit.yaml: is no file; did you"),
    ],
)
def test_what_cannot_be_is_explained_and_nothing_is_written(
    checkout: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    before = {path: path.read_bytes() for path in (checkout / "configs").rglob("*") if path.is_file()}
    assert new_suite(checkout, *arguments) == 2
    assert told in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (checkout / "configs").rglob("*") if path.is_file()} == before
    assert not list((checkout / "configs/suites").glob(".new-*"))


def test_a_name_that_is_frozen_is_not_taken_again(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "deliverables/mine").mkdir(parents=True)
    assert new_suite(checkout, "mine") == 2
    assert "deliverables/mine: is there, frozen from an earlier suite; take another name" in capsys.readouterr().err


def test_the_words_of_make_are_all_refused() -> None:
    (line,) = re.findall(r"(?m)^\.PHONY: (.*)$", (ROOT / "Makefile").read_text())
    assert set(line.split()) - {"$(SUITES)"} == TARGETS
