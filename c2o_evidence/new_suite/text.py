"""The text of a new suite: everything an existing one has, written out, each key explained, what else there is shown.

A line that begins with `#` and a space explains; one with `#` and no space is YAML that is switched off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from c2o_evidence.suite import Suite
from c2o_evidence.suite_spec import Experiment
from c2o_evidence.yaml_file import dump_yaml

WIDTH = 118
DIGITS, DIGITS_MINI = "configs/data/digits.yaml", "configs/data/digits_mini.yaml"
# Of keys that most suites have; any other key of the suite is written out without a word.
WHAT = {
    "name": "The name of this file without .yaml, and of deliverables/NAME.",
    "title": "One line, printed above the tables and in the report.",
    "description": "What is asked, and what the controls are: in the bundle's README and on the model card.",
    "dataset": "A file of configs/data/. How to write one: docs/own-data.md; public sets by name: docs/datasets.md.",
    "train_seeds": (
        "A train seed decides one training: every experiment that is not `shared` is trained once for each. Intervals\n"
        "and tests go over train seeds: five are a good start, with one there is no interval and no test."
    ),
    "eval_seeds": "An eval seed decides the sampling noise alone: each checkpoint is evaluated with each of them.",
    "experiments": (
        "Trainings by name. model: a file of configs/models/ (every key: c2o_model/keys.py); init: the experiment\n"
        "whose checkpoint it starts from; teacher: the one that is distilled; shared: trained once for all train\n"
        "seeds; opts: keys of the model file with other values. A training that another suite has with the same\n"
        "configuration, seed, data, code and parents is taken from there and not done again; a new value is a new one."
    ),
    "rows": (
        "The table: an experiment's checkpoints, sampled in so many steps. opts: other values at test time. A row has\n"
        "train seeds x eval seeds runs. stack: diffusers or mmdet samples it by another library: docs/stacks.md."
    ),
    "comparisons": (
        "What is claimed: row a against row b, tested paired over train seeds. b should be a control that has had the\n"
        "same extra training as a without what is asked about: else the test is of more training, not of the idea."
    ),
    "main_table": "A second table for the paper: what is printed beside the numbers of a row.",
    "speedups": "How many times faster one row is than another, on the hardware that timed both.",
    "timing": (
        "Inference time of each row: images a pass, batch size, passes before the clock and with it, and whose\n"
        "checkpoints (train_seed). It runs alone. Without this key there are no times."
    ),
    "attention": "Time and memory of the attention kernels at so many nodes; nothing is trained for it.",
    "gallery": "Pictures in the report: detections of these rows on so many images of val.",
    "tolerances": (
        "How far a replay (c2o verify --level eval, train) may be from the frozen runs, in points of AP, before it\n"
        "counts as another result: docs/verify.md. Nobody can choose this when verifying."
    ),
}
TOLERANCES = {"eval": {"AP": 0.1}, "train": {"AP": 5}, "train_mean": {"AP": 2}}
ONE_LINE = ("train_seeds", "eval_seeds", "timing", "attention")


def suite_text(base: Suite, name: str, dataset: str) -> str:
    """The file of a suite `name` that has all that `base` has, on a data set.

    Args:
        base: a suite with rows. dataset: path of its data configuration, relative to the repository.
    """
    document = base.to_dict() | {"name": name, "dataset": dataset}
    document["title"] = f"{name}: what it asks, in one line"
    document["description"] = f"A copy of {base.name} to be changed. Say here what is asked and what the control is."
    document["experiments"] = {item: _experiment(base.experiment(item)) for item in base.needed}
    for key in ("rows", "main_table", "comparisons"):
        document[key] = [
            {name: value for name, value in item.items() if value not in ({}, "")} for item in document[key]
        ]
    document.pop("data_config")
    parts = [_head(base, name)]
    for key, value in document.items():
        if value in ([], {}, None):
            continue
        parts.append("\n".join([*_comment(WHAT.get(key, "")), *_value(key, value), *_shown(key, base)]))
    parts += ["\n".join(lines) for lines in (_arms(base), _absent(base), _reduced(dataset), _processes()) if lines]
    return "\n\n".join(parts) + "\n"


def _head(base: Suite, name: str) -> str:
    lines = (
        f"Suite {name}: what is trained, evaluated, compared and printed. Written by `c2o new-suite` from {base.name}.",
        f"    c2o run {name}_reduced     the same jobs in a minute or two, to see that they work (key `reduced` below)",
        f"    c2o run {name}             all of it, to deliverables/{name}",
        "Lines that begin with # and no space are switched off: take the # away from a whole block to switch it on.",
        "The file is checked whenever it is read: what is wrong is named with its key, and what could be meant.",
    )
    return "\n".join(f"# {line}" for line in lines)


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in text.split("\n") if line]


def _flow(value: Any) -> str:
    """YAML on one line."""
    text: str = dump_yaml(value, default_flow_style=True, width=10**6)
    return text.removesuffix("\n...\n").strip()


def _entry(head: str, value: Any, indent: int) -> list[str]:
    """`HEAD value` on one line where it fits, else a mapping or list below its head."""
    space = " " * indent
    line = f"{space}{head} {_flow(value)}"
    if len(line) <= WIDTH or not isinstance(value, (dict, list)):
        return [line]
    if head == "-":
        lines = [line for key, item in dict(value).items() for line in _entry(f"{key}:", item, indent + 2)]
        return [f"{space}- {lines[0].lstrip()}", *lines[1:]]
    if isinstance(value, dict):
        below = [line for key, item in value.items() for line in _entry(f"{key}:", item, indent + 2)]
    else:
        below = [line for item in value for line in _entry("-", item, indent + 2)]
    return [f"{space}{head}", *below]


def _value(key: str, value: Any) -> list[str]:
    if isinstance(value, (dict, list)) and key not in ONE_LINE:
        items = [(f"{name}:", item) for name, item in value.items()] if isinstance(value, dict) else []
        items = items or [("-", item) for item in value]
        return [f"{key}:", *(line for head, item in items for line in _entry(head, item, 2))]
    return _entry(f"{key}:", value, 0)


def _experiment(spec: Experiment) -> dict[str, Any]:
    """An experiment without what it does not say."""
    said: dict[str, Any] = {"model": spec.model, "init": spec.init, "teacher": spec.teacher}
    said |= {"shared": spec.shared or None, "opts": dict(spec.opts) or None}
    said["processes"] = spec.processes if spec.processes > 1 else None
    return {key: value for key, value in said.items() if value is not None}


def _off(lines: Sequence[str]) -> list[str]:
    """Lines that are switched off: `#` stands where the text began."""
    return [f"{line[: len(line) - len(line.lstrip())]}#{line.lstrip()}" for line in lines]


def _shown(key: str, base: Suite) -> Iterator[str]:
    """What else a key can hold, switched off below it."""
    last = base.rows[-1]
    if key == "experiments":
        tuned = _tuned(base)
        iterations = base.config_of(tuned.name)["SOLVER"]["MAX_ITER"]
        spec = _experiment(tuned) | {"opts": {**tuned.opts, "SOLVER.MAX_ITER": 2 * iterations}}
        yield "  # One more: this one is trained only once a row asks for it."
        yield from _off(_entry("longer:", spec, 2))
    if key == "rows":
        again = {"exp_id": f"{last.experiment}_again_3", "experiment": last.experiment, "sample_step": 3}
        yield "  # The same checkpoints sampled otherwise: three steps, two random restarts."
        yield from _off(_entry("-", again | {"opts": {"MODEL.DiffusionDet.SAMPLE_RESTARTS": 2}}, 2))
        yield "  # A row that was chosen by its results says so: tables mark it and show the unselected row beside it."
        plain = next(row.exp_id for row in base.rows if row.experiment == last.experiment)
        chosen = {"what": "learning rate per train seed", "chosen_on": "val", "unselected": plain}
        row = {"exp_id": f"{last.experiment}_chosen", "experiment": last.experiment, "sample_step": 1}
        yield from _off(_entry("-", row | {"selected": chosen}, 2))


def _tuned(base: Suite) -> Experiment:
    """The experiment that an own arm is made like: the last one that starts from another and has no teacher."""
    chosen = [spec for spec in map(base.experiment, base.needed) if spec.init and not spec.teacher and not spec.shared]
    return chosen[-1] if chosen else base.experiment(base.needed[-1])


def _arms(base: Suite) -> list[str]:
    """Own arms with their control: the way to ask one question on equal terms."""
    tuned = _tuned(base)
    spec, rate = _experiment(tuned), base.config_of(tuned.name)["SOLVER"]["BASE_LR"]
    common = {key: value for key, value in spec.items() if key in ("model", "init", "teacher", "opts")}
    mine = {
        "label": "Half the learning rate",
        "claim": "half the learning rate helps",
        "opts": {"SOLVER.BASE_LR": rate / 2},
    }
    each = {"own_control": {"label": "Control: the same training without it"}, "own_idea": mine}
    arms = common | {"sample_steps": [1], "control": "own_control", "each": each}
    text = (
        "Short for an ablation: each arm is an experiment with its rows and its comparison with the control. All\n"
        "start from the same checkpoint and train for the same iterations; only what an arm says differs."
    )
    return [*_comment(text), *_off(_value("arms", arms))]


def _absent(base: Suite) -> list[str]:
    """Keys that the suite this one is made from does not use."""
    first, last = base.rows[0].exp_id, base.rows[-1].exp_id
    per_seed = [row.exp_id for row in base.rows if not base.experiment(row.experiment).shared]
    shown: dict[str, Any] = {}
    if not base.comparisons and len(per_seed) > 1:
        shown["comparisons"] = [{"a": per_seed[-1], "b": per_seed[0], "claim": "the last row is better than the first"}]
    if not base.speedups and first != last:
        shown["speedups"] = [{"fast": first, "slow": last}]
    if not base.main_table:
        row = {"method": "Mine", "type": "Gaussian boxes", "backbone": "small", "epochs": "1x", "exp_id": last}
        shown["main_table"] = [row | {"notes": "1 step"}]
    if base.timing is None:
        shown["timing"] = {"images": 16, "batch": 1, "warmup": 1, "repeats": 5, "train_seed": base.train_seeds[0]}
    if base.attention is None:
        shown["attention"] = {"nodes": [100, 500], "heads": 8, "dim": 256, "repeats": 5}
    if base.tolerances is None:
        shown["tolerances"] = TOLERANCES
    blocks = ["\n".join([*_comment(WHAT[key]), *_off(_value(key, value))]) for key, value in shown.items()]
    return ["\n\n".join(blocks)] if blocks else []


def _reduced(dataset: str) -> list[str]:
    text = "NAME_reduced: the same jobs on a small budget, to see that they work. Its numbers mean nothing."
    reduced: Mapping[str, Any] = {
        **({"dataset": DIGITS_MINI} if dataset == DIGITS else {}),
        "train_seeds": [0, 1],
        "eval_seeds": [0],
        "opts": {"SOLVER.MAX_ITER": 2, "SOLVER.IMS_PER_BATCH": 2, "SOLVER.WARMUP_ITERS": 1},
        "max_steps": 4,
        "timing": {"images": 2, "repeats": 1, "train_seed": 0},
        "attention": {"nodes": [32, 64], "repeats": 1},
    }
    return [*_comment(text), *_value("reduced", reduced)]


def _processes() -> list[str]:
    text = "Each batch of every training shared by so many processes, one a GPU: docs/training.md."
    return [*_comment(text), "#processes: 2"]
