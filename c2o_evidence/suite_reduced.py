"""The `reduced` section of a suite: the same experiments, rows and tables on a budget for tests, as `NAME_reduced`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SUFFIX = "_reduced"


def reduce_document(document: Mapping[str, Any], reduced: Mapping[str, Any]) -> dict[str, Any]:
    """What `reduced` puts in the place of keys of an expanded suite document; `opts` go to every experiment.

    `max_steps` bounds the sampling steps of the rows, whose names stay. Sections that the suite lacks stay away.
    """
    over = {key: value for key, value in reduced.items() if key not in ("opts", "max_steps", "experiments")}
    over = {key: value for key, value in over.items() if key in document}
    own = reduced.get("experiments", {})
    opts = reduced.get("opts", {})
    experiments = {
        name: {"opts": {**opts, **own.get(name, {}).get("opts", {})}} for name in document.get("experiments", {})
    }
    if experiments:
        over["experiments"] = experiments
    if "max_steps" in reduced and document.get("rows"):
        most = reduced["max_steps"]
        over["rows"] = [{**row, "sample_step": min(row["sample_step"], most)} for row in document["rows"]]
    return over
