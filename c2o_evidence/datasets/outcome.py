"""What a check of a data set found, and how it is printed. Exit codes: 0 it holds, 1 it has a fault."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from c2o_evidence.datasets.contents import Faults
from c2o_evidence.limits import MAX_MESSAGE
from c2o_evidence.printable import printable

Level = Literal["ok", "note", "fault"]
MARKS: dict[Level, str] = {"ok": "+", "note": "-", "fault": "!"}


@dataclass(frozen=True)
class Line:
    """One thing looked at. `places`: the first places of a fault (files, and where in them); `todo`: what to do."""

    level: Level
    text: str
    places: tuple[str, ...] = ()
    todo: str = ""
    count: int = 0  # of places in all


@dataclass
class SplitOutcome:
    """The lines of a split."""

    name: str
    where: str
    lines: list[Line] = field(default_factory=list)
    stopped: bool = False  # by Ctrl-C

    def add(self, level: Level, text: str, todo: str = "", places: Iterable[str] = (), count: int = 0) -> None:
        self.lines.append(Line(level, text, tuple(places), todo, count))

    def add_faults(self, faults: Faults, todo: str) -> None:
        """A line for each kind of fault."""
        for what, count in faults.counts.items():
            self.add("fault", f"{count} x {what}" if count > 1 else what, todo, faults.places[what], count)


@dataclass
class Outcome:
    """The splits of a set."""

    name: str
    root: str
    splits: list[SplitOutcome] = field(default_factory=list)

    @property
    def faults(self) -> int:
        return sum(line.level == "fault" for split in self.splits for line in split.lines)

    @property
    def stopped(self) -> bool:
        return any(split.stopped for split in self.splits)

    @property
    def exit_code(self) -> int:
        return 1 if self.faults else 0

    def to_json(self) -> str:
        document: dict[str, Any] = {"name": self.name, "root": self.root, "holds": not self.faults and not self.stopped}
        document["splits"] = [asdict(split) for split in self.splits]
        return json.dumps(document, indent=2)  # ASCII alone: a terminal obeys nothing in it

    def text(self) -> str:
        """For a reader; names from annotation files are printed so that a terminal obeys nothing in them."""
        lines: list[str] = []
        for split in self.splits:
            lines.append(f"{split.name}: {printable(split.where, MAX_MESSAGE)}")
            for line in split.lines:
                lines.append(f"  {MARKS[line.level]} {printable(line.text, MAX_MESSAGE)}")
                lines += [f"      {printable(place, MAX_MESSAGE)}" for place in line.places]
                if line.count > len(line.places):
                    lines.append(f"      … and {line.count - len(line.places)} more")
                lines += [f"      -> {line.todo}"] if line.todo else []
        kinds = "1 kind of fault" if self.faults == 1 else f"{self.faults} kinds of fault"
        verdict = "holds" if not self.faults else f"does not hold: {kinds}"
        verdict = f"stopped before the end, so far: {verdict}" if self.stopped else verdict
        return "\n".join([*lines, f"{self.name}: {verdict}"])
