"""Takes the picture of the live view that docs/progress.md shows, from a real build.

    python docs/images/live_view.py quick docs/images/live-view.svg

Builds the suite as `c2o run` does, and keeps the richest of the states that its view is given: trainings with a loss
beside evaluations with the AP of the seeds before them. What is done already is not done again, so begin without
results of the suite.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from c2o_evidence.live.screen import render
from c2o_evidence.live.state import BuildState
from c2o_evidence.run import Build
from c2o_evidence.suite import load_suite
from c2o_evidence.workload import jobs_of

COLUMNS, LINES = 100, 30


class Photographer:
    """A view that saves each state that has more to show than the one before."""

    def __init__(self, title: str, target: Path) -> None:
        self.title = title
        self.target = target
        self.best = 0

    def update(self, state: BuildState) -> None:
        worth = richness(state)
        if worth > self.best:
            self.best = worth
            self.target.write_text(picture(self.title, state), encoding="utf-8")

    def close(self) -> None:
        pass


def richness(state: BuildState) -> int:
    """How much a state has to show: best are a training that is well on its way and, beside it, an evaluation."""
    training = any(job.training is not None and 0.2 < job.training.fraction < 0.9 for job in state.running)
    at_work = sum(stage.running > 0 for stage in state.stages)
    evaluation = any(job.ap for job in state.running)
    return 8 * training + 4 * evaluation + 2 * at_work + sum(stage.done > 0 for stage in state.stages)


def picture(title: str, state: BuildState) -> str:
    console = Console(file=io.StringIO(), record=True, width=COLUMNS, height=LINES, force_terminal=True)
    console.print(render(title, state, COLUMNS, LINES))
    return without_addresses(console.export_svg(title=f"snakemake deliverables/{title}"))


def without_addresses(svg: str) -> str:
    """The picture with no font to fetch and no word of who has drawn it: the reader's own monospaced font serves."""
    return re.sub(r"@font-face \{[^}]*\}\s*|<!--.*?-->\s*", "", svg, flags=re.DOTALL)


def main(suite_name: str, target: str) -> int:
    root = Path.cwd()
    suite = load_suite(suite_name, root)
    build = Build(suite.name, jobs_of(suite, root), root, sys.stdout)
    return build.run([], Photographer(suite.name, Path(target)))[0]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
