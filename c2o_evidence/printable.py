"""Text from outside on a terminal: what could move the cursor, colour, hide or reorder the line is shown as escape."""

from __future__ import annotations

import json
import re

from c2o_evidence.limits import MAX_CELL, MAX_MESSAGE

# Controls (C0, DEL, C1), soft hyphen, marks without width, line separators, changes of direction, lone surrogates,
# byte order mark, tags.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)


def printable(text: str, most: int = MAX_CELL) -> str:
    """`text` with every such character as JSON spells it (`\\u001b`), cut to `most` characters with a word about it."""
    if len(text) > most:
        return printable(text[:most], most) + f"… ({len(text)} characters)"
    if text.isascii() and text.isprintable():
        return text
    return _HIDDEN.sub(lambda match: json.dumps(match[0])[1:-1], text)


def printable_lines(text: str, most: int = MAX_MESSAGE) -> str:
    """As `printable`, for a message of several lines: line ends stay."""
    return "\n".join(printable(line, most) for line in text.split("\n"))
