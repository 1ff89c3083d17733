"""JSON from outside: UTF-8, no name twice, no NaN, as many values as fit into memory."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from c2o_evidence.limits import MAX_JSON_VALUES
from c2o_evidence.plain_file import LIMITS


def parse_json(data: bytes, *, most: int = MAX_JSON_VALUES) -> Any:
    """The value of a JSON text.

    Args:
        most: values (numbers, texts, lists, mappings) that it may have.

    Raises:
        ValueError: it is not JSON as RFC 8259 has it, not UTF-8, gives a name twice, or has too many values or levels;
            the message says which, without file name.
    """
    # Counted in the text, marks inside of strings too: an upper bound, at the speed of a memory scan.
    marks = data.count(b",") + data.count(b"[") + data.count(b"{")
    if marks > most:
        raise ValueError(f"has up to {marks} values, more than the limit of {most} ({LIMITS})")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start})") from None
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {twice[:100]!r} is given twice")
    return result


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
