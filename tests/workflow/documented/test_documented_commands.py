"""Every command in README.md and docs/ is tried, in the way that ways.py says."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from c2o_evidence import cli
from tests.workflow.conftest import ROOT
from tests.workflow.documented.parsing import fault_of, fault_of_mention
from tests.workflow.documented.reading import Command, in_blocks, in_text, pages
from tests.workflow.documented.sandbox import Sandbox
from tests.workflow.documented.ways import WAYS, way_of

COMMANDS = [command for page in pages(ROOT) for command in in_blocks(ROOT, page)]
WITH_COMMANDS = sorted({command.page for command in COMMANDS})
DONE: dict[str, dict[str, list[int]]] = {}  # page: command: exit codes


@pytest.fixture(scope="session")
def sandbox(clean, tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """One for all pages: a reader has one checkout too."""
    return Sandbox(clean, tmp_path_factory.mktemp("documented"))


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_commands_of_a_page(page: str, sandbox: Sandbox) -> None:
    """In their order; one that another page has had is not run again."""
    for command in (each for each in COMMANDS if each.page == page):
        way = way_of(command)
        if not way.runs:
            assert fault_of(command.text, ROOT) is None, f"{command}: {fault_of(command.text, ROOT)}"
            continue
        text = way.text_of(command)
        if way.needs and shutil.which(way.needs) is None:
            continue
        if any(text in ran for other, ran in DONE.items() if other != page):
            continue
        done = sandbox.run(text)
        assert done.returncode in way.exits, f"{command}\n$ {text}\n{done.stdout}\nexit code {done.returncode}"
        assert "Traceback (most recent call last)" not in done.stdout, f"{command}\n$ {text}\n{done.stdout}"
        DONE.setdefault(page, {}).setdefault(text, []).append(done.returncode)


def test_the_tutorial_finds_what_it_says(sandbox: Sandbox) -> None:
    """A byte too many is found; with the list made to fit only the tables tell."""
    page = "docs/tutorial.md"
    if page not in DONE:
        test_commands_of_a_page(page, sandbox)
    assert DONE[page]["c2o verify copy"] == [1, 0] and DONE[page]["c2o verify copy --level tables"] == [1]


def test_what_runs_elsewhere_is_there() -> None:
    for way in WAYS:
        if way.name == "run elsewhere":
            file, test = way.where.split("::")
            assert re.search(rf"def {test}\(", (ROOT / file).read_text(encoding="utf-8")), way.where
        assert (way.name == "not possible here") == bool(way.why), way.pattern


def test_every_line_of_the_table_is_needed() -> None:
    unused = [way.pattern for way in WAYS if not any(re.fullmatch(way.pattern, each.text) for each in COMMANDS)]
    assert unused == []


def test_mentions_name_what_there_is() -> None:
    """`c2o verify --level eval` in a sentence: the command exists and has the option."""
    mentions = [mention for page in pages(ROOT) for mention in in_text(ROOT, page)]
    assert len(mentions) > 50
    assert [f"{each}: {fault}" for each in mentions if (fault := fault_of_mention(each.text, ROOT))] == []


def test_examples_of_the_help_are_taken() -> None:
    """What `c2o COMMAND --help`, and with it the reference, gives as examples."""
    texts = [cli.OVERVIEW, *(command.HELP for command in cli.COMMANDS.values())]
    examples = [line for text in texts for line in re.findall(r"(?m)^  (c2o .+?)(?: {2,}.*)?$", text)]
    assert len(examples) > 40
    assert [f"{example}: {fault}" for example in examples if (fault := fault_of(example, ROOT))] == []


def test_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """How many are tried in which way, printed for who wants to know."""
    counts = Counter(way_of(command).name for command in COMMANDS)
    with capsys.disabled():
        print(f"\n{len(COMMANDS)} documented commands: {', '.join(f'{n} {name}' for name, n in counts.most_common())}")
    assert counts["as written"] > len(COMMANDS) / 2


def block(tmp_path: Path, text: str) -> list[Command]:
    (tmp_path / "page.md").write_text(text, encoding="utf-8")
    return in_blocks(tmp_path, "page.md")


class TestReading:
    """What counts as a command."""

    def test_indented_and_fenced(self, tmp_path: Path) -> None:
        text = "Say\n\n    c2o status   # all\n\n```sh\nmake quick\n```\n\n"
        text += "1. In a list\n\n        python -m a \\\n            b\n"
        found = [(each.line, each.text) for each in block(tmp_path, text)]
        assert found == [(3, "c2o status"), (6, "make quick"), (11, "python -m a b")]

    def test_other_languages_and_trees_are_none(self, tmp_path: Path) -> None:
        assert block(tmp_path, "```yaml\nmake: x\n```\n\n    c2o_model/   the detector\n    c2o  status\n") == []

    def test_of_a_session_the_prompts_alone(self, tmp_path: Path) -> None:
        text = "```console\n$ c2o stats a.tsv 'b # c'  # look\nAP  1\n```\n"
        assert [each.text for each in block(tmp_path, text)] == ["c2o stats a.tsv 'b # c'"]

    def test_directories_and_variables_go_on_in_the_block(self, tmp_path: Path) -> None:
        first, second, third = block(tmp_path, "    cd a\n    export B=c\n    c2o status\n")
        assert (first.before, second.before, third.before) == ("", "cd a && ", "cd a && export B=c && ")

    def test_an_unknown_program_among_commands_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"page\.md:2: frobnicate now: begins with no known program"):
            block(tmp_path, "    c2o status\n    frobnicate now\n")

    def test_a_command_that_no_line_fits_says_what_to_do(self) -> None:
        with pytest.raises(LookupError, match=r"README\.md:7: c2o nonsense: no line of WAYS in .*ways\.py says how"):
            way_of(Command("README.md", 7, "c2o nonsense"))
