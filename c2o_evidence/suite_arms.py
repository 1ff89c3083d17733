"""The `arms` of a suite: what is compared with one control, an entry an arm.

An arm stands for an experiment, its rows (one for each number of steps) and its comparisons with the control's rows,
paired over train seeds. `expand_arms` writes these out, so that a resolved suite has experiments, rows and comparisons
alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from c2o_evidence.schemas import Fault, did_you_mean

TRAINING = ("model", "init", "teacher")


def arm_faults(document: Mapping[str, Any]) -> list[Fault]:
    """What the schema cannot say about `arms`, in the order of the file."""
    arms = document["arms"]
    known = document.get("experiments") or {}
    faults = []
    if arms["control"] not in arms["each"]:
        hint = did_you_mean(arms["control"], arms["each"])
        faults.append(Fault(("arms", "control"), f"{arms['control']!r} is not an arm; {hint}"))
    for name, arm in arms["each"].items():
        where = ("arms", "each", name)
        other = _existing(arms, arm)
        if other is not None and other not in known:
            hint = did_you_mean(other, known)
            faults.append(Fault((*where, "experiment"), f"{other!r} is not an experiment of this suite; {hint}"))
        if other is not None and (own := [key for key in (*TRAINING, "opts") if key in arm]):
            what = f"is of the training, but experiment {other!r} is trained elsewhere; remove one of them"
            faults.append(Fault((*where, own[0]), what))
        if other is None and name in known:
            faults.append(
                Fault(where, f"{name!r} is an experiment already; write `experiment: {name}` or another name")
            )
        if other is None and "model" not in arm and "model" not in arms:
            faults.append(Fault((*where, "model"), "is missing; add it here or to arms"))
        if name == arms["control"] and "claim" in arm:
            faults.append(Fault((*where, "claim"), "the control is not compared with itself; remove it"))
    return faults


def expand_arms(document: dict[str, Any]) -> dict[str, Any]:
    """A document without `arms`: their experiments, rows and comparisons come after those that are there."""
    document = dict(document)
    arms = document.pop("arms")
    experiments = dict(document.get("experiments") or {})
    rows, comparisons = list(document.get("rows") or ()), list(document.get("comparisons") or ())
    for name, arm in arms["each"].items():
        if _existing(arms, arm) is None:
            experiments[name] = _experiment(arms, arm)
        for steps in arms.get("sample_steps", [1]):
            rows.append(_row(name, arms, arm, steps))
            if name != arms["control"]:
                pair = {"a": f"{name}_{steps}", "b": f"{arms['control']}_{steps}"}
                comparisons.append(pair | ({"claim": arm["claim"]} if "claim" in arm else {}))
    return document | {"experiments": experiments, "rows": rows, "comparisons": comparisons}


def _experiment(arms: Mapping[str, Any], arm: Mapping[str, Any]) -> dict[str, Any]:
    spec = {key: arm.get(key, arms.get(key)) for key in TRAINING}
    opts = {**arms.get("opts", {}), **arm.get("opts", {})}
    return {key: value for key, value in spec.items() if value is not None} | ({"opts": opts} if opts else {})


def _existing(arms: Mapping[str, Any], arm: Mapping[str, Any]) -> str | None:
    """The experiment that an arm only samples in another way, if it has no training of its own."""
    name: str | None = arm.get("experiment", arms.get("experiment"))
    return name


def _row(name: str, arms: Mapping[str, Any], arm: Mapping[str, Any], steps: int) -> dict[str, Any]:
    row = {"exp_id": f"{name}_{steps}", "experiment": _existing(arms, arm) or name, "sample_step": steps}
    row["label"] = f"{arm.get('label', name)}, {steps} step{'s' if steps > 1 else ''}"
    opts = {**arms.get("test_opts", {}), **arm.get("test_opts", {})}
    return row | ({"opts": opts} if opts else {})
