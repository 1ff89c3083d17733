"""`c2o new-suite`: checks the name, writes the file, has it read as any suite is, and only then puts it in place."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from c2o_evidence.atomic import atomic_write
from c2o_evidence.errors import SuiteError
from c2o_evidence.new_suite.text import suite_text
from c2o_evidence.schemas import did_you_mean
from c2o_evidence.suite import Suite, load_suite
from c2o_evidence.suite_check import SUITES
from c2o_evidence.suite_reduced import SUFFIX

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
LONGEST = 80
DATA = "configs/data"
TARGETS = frozenset(
    ("help", "setup", "attest", "extras", "mmdet", "test", "test-mmdet", "check", "docs", "verify", "doctor", "clean")
)
"""Words that `make` has another meaning for."""


def check_name(name: str, root: Path) -> None:
    """Raises SuiteError, with the way out, for a name that a suite cannot have or that is taken."""
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        allowed = f"up to {LONGEST} letters, digits, '_' and '-', beginning with a letter or digit"
        raise SuiteError(f"{name!r} is no name for a suite; use {allowed}")
    if name.endswith(SUFFIX):
        raise SuiteError(f"{name}: names that end in {SUFFIX} mean the small budget of a suite; leave the ending away")
    if name in TARGETS:
        raise SuiteError(f"{name}: `make {name}` does something else; take another name")
    if (root / SUITES / f"{name}.yaml").exists():
        raise SuiteError(f"{SUITES}/{name}.yaml: is there already and is left as it is; edit it, or take another name")
    if (root / "deliverables" / name).exists():
        raise SuiteError(f"deliverables/{name}: is there, frozen from an earlier suite; take another name")


def data_path(given: Path, root: Path) -> str:
    """A data configuration as a suite names it: relative to the repository, where it lies in it.

    Raises SuiteError where it is not there.
    """
    here = given.resolve()
    if not given.is_file() and not (root / given).is_file():
        known = (path.relative_to(root).as_posix() for path in (root / DATA).glob("*.yaml"))
        raise SuiteError(f"--dataset {given}: is no file; {did_you_mean(given.as_posix(), known)}")
    return here.relative_to(root).as_posix() if given.is_file() and here.is_relative_to(root) else str(given)


def new_suite_command(name: str, origin: str, dataset: Path | None, root: Path) -> int:
    """Writes `configs/suites/NAME.yaml` and says what to type next; 0.

    Raises:
        SuiteError: the name, the suite it is made from or the data set is no good; nothing is written then.
    """
    check_name(name, root)
    base = load_suite(origin, root)
    if not base.rows:
        raise SuiteError(f"{base.path}: evaluates nothing; give --from a suite that has rows, as step1_5seed")
    text = suite_text(base, name, base.dataset if dataset is None else data_path(dataset, root))
    place = root / SUITES / f"{name}.yaml"
    suite = _put(text, place, root)
    known = {base.recipe(*job).digest for job in base.train_jobs}
    shared = sum(suite.recipe(*job).digest in known for job in suite.train_jobs)
    trainings = len(suite.train_jobs)
    runs = len(suite.rows) * len(suite.train_seeds) * len(suite.eval_seeds)
    print(f"written: {SUITES}/{name}.yaml, a copy of {base.name} with every key explained")
    print(f"{trainings} trainings ({shared} of them are {base.name}'s, and done once for both), {runs} runs")
    if suite.dataset != base.dataset:
        print(f"its models are made for {base.dataset}: NUM_CLASSES must be the number of classes of {suite.dataset},")
        print("and image sizes should fit it; `model` and `opts` of each experiment say so")
    print(f"next:\n  edit {SUITES}/{name}.yaml; what is on is what {base.name} does, what is off is shown")
    for typed, does in (
        (f"c2o run {name}{SUFFIX}", "the same jobs on a small budget, to see that they work"),
        (f"snakemake -n deliverables/{name}", "what would be done"),
        (f"c2o run {name}", "all of it"),
    ):
        print(f"  {typed:<{30 + len(name)}} {does}")
    return 0


def _put(text: str, place: Path, root: Path) -> Suite:
    """Have the text read where it will be read from, then give it its name, which nothing else may have taken."""
    room = Path(tempfile.mkdtemp(prefix=".new-", dir=place.parent))
    try:
        draft = room / place.name
        atomic_write(draft, text)
        suite = load_suite(draft, root)
        for job in suite.train_jobs:
            suite.recipe(*job)  # model files and options too
        try:
            os.link(draft, place)
        except FileExistsError:
            raise SuiteError(f"{place}: has just been written by another; it is left as it is") from None
    finally:
        shutil.rmtree(room)
    return suite
