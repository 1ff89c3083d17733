"""One question of a checklist with its answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from c2o_evidence.publish.source import Link

Status = Literal["evidence", "in part", "authors"]


@dataclass(frozen=True)
class Item:
    """One question, how far the bundle answers it, the answer, and the files that prove it."""

    list: str
    name: str
    status: Status
    answer: str
    links: tuple[Link, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def count(number: int, what: str) -> str:
    """A number with its noun, in the plural where it is not one."""
    return f"{number} {what}" + ("" if number == 1 else "s")
