"""What a row's `selected` must say: a row that was chosen by its results has the row without the choice beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from c2o_evidence.schemas import Fault, did_you_mean


def selection_faults(document: Mapping[str, Any]) -> list[Fault]:
    """What the schema cannot say about `selected`, in the order of the rows."""
    rows = {row["exp_id"]: row for row in document.get("rows", ())}
    printed = {item["exp_id"] for item in document.get("main_table") or ()}
    faults = []
    for index, row in enumerate(document.get("rows", ())):
        if "selected" not in row:
            continue
        where, other = ("rows", index, "selected", "unselected"), row["selected"]["unselected"]
        if other not in rows:
            faults.append(Fault(where, f"{other!r} is not a row; {did_you_mean(other, rows)}"))
        elif other == row["exp_id"]:
            faults.append(Fault(where, f"{other!r} is the selected row itself; name the row without selection"))
        elif "selected" in rows[other]:
            faults.append(Fault(where, f"{other!r} was selected too; name a row without selection"))
        elif row["exp_id"] in printed and other not in printed:
            what = f"{row['exp_id']!r} was selected, but its unselected row {other!r} is not there; add it"
            faults.append(Fault(("main_table",), what))
    return faults
