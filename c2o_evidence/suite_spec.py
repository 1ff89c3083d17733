"""The parts of a suite as frozen values: experiments, rows, tables, benchmarks, recipes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Experiment:
    """One training: a model configuration, what it starts from, what it learns from, and how many processes share
    each of its batches.
    """

    name: str
    model: str
    opts: Mapping[str, Any] = field(default_factory=dict)
    init: str | None = None
    teacher: str | None = None
    shared: bool = False
    processes: int = 1


@dataclass(frozen=True)
class Selection:
    """That something about a row was chosen by looking at its results: what, on which data, and the row without it."""

    what: str
    chosen_on: str
    unselected: str

    def __str__(self) -> str:
        """As the column `selected` of a table has it."""
        return f"{self.what}, chosen on {self.chosen_on}; without: {self.unselected}"


@dataclass(frozen=True)
class SuiteRow:
    """One row of the summary table: an experiment's checkpoints at one number of steps, in one stack."""

    exp_id: str
    experiment: str
    sample_step: int
    opts: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    selected: Selection | None = None
    stack: str = "detectron2"


@dataclass(frozen=True)
class MainRow:
    """One row of the main table: what is printed beside the numbers of row `exp_id`."""

    method: str
    type: str
    backbone: str
    epochs: str
    exp_id: str
    notes: str = ""


@dataclass(frozen=True)
class Comparison:
    """`a` against `b`, paired over train seeds, and what it is meant to show."""

    a: str
    b: str
    claim: str = ""


@dataclass(frozen=True)
class Speedup:
    """How many times faster row `fast` is than row `slow`."""

    fast: str
    slow: str


@dataclass(frozen=True)
class TimingSpec:
    """Inference timing: images and batch size a pass, untimed and timed passes, whose checkpoints."""

    images: int
    batch: int
    warmup: int
    repeats: int
    train_seed: int


@dataclass(frozen=True)
class AttentionSpec:
    """Attention benchmark: numbers of nodes, heads, model width (all heads together), timed calls."""

    nodes: tuple[int, ...]
    heads: int
    dim: int
    repeats: int


@dataclass(frozen=True)
class Tolerances:
    """How far a replay may be from the bundle, in points of a metric (0-100): `c2o verify --level eval` and `train`.

    Keys are columns of a results TSV; `per_class` stands for all of one class each (`AP-NAME`, `AP_voc07-NAME`). A
    metric that is not named has to be equal.

    Attributes:
        eval: of a run, when its frozen checkpoint is evaluated again.
        train: of a run, when its checkpoint is trained again too.
        train_mean: of a table row, the mean over its runs, when all its checkpoints are trained again.
    """

    eval: Mapping[str, float] = field(default_factory=dict)
    train: Mapping[str, float] = field(default_factory=dict)
    train_mean: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Parent:
    """A checkpoint that a training needs: experiment, train seed, and that training's recipe digest."""

    experiment: str
    seed: int
    digest: str


@dataclass(frozen=True)
class Recipe:
    """All that decides a checkpoint, and the digest of it.

    Attributes:
        seed: the train seed in effect (0 for a shared experiment).
        config: merged model configuration, options put in. All train seeds share it: it is read, not changed.
        config_sha256: digest of `config`.
        data_sha256: digest of the data configuration.
        code_sha256: digest of the sources training uses.
        init, teacher: the checkpoints it needs.
        digest: the recipe digest.
    """

    experiment: str
    seed: int
    config: dict[str, Any]
    config_sha256: str
    data_sha256: str
    code_sha256: str
    init: Parent | None
    teacher: Parent | None
    digest: str

    @property
    def parents(self) -> tuple[Parent, ...]:
        """init and teacher, as far as there are any, each checkpoint once."""
        return tuple(dict.fromkeys(parent for parent in (self.init, self.teacher) if parent is not None))


def plain_row(row: SuiteRow) -> dict[str, Any]:
    """A row; `selected` and `stack` only where they say something, so that a suite without them keeps its bytes."""
    values = plain(row, drop=("selected", "stack"))
    values |= {"selected": plain(row.selected)} if row.selected else {}
    return values | ({"stack": row.stack} if row.stack != SuiteRow.stack else {})


def plain(item: Any, drop: tuple[str, ...] = ()) -> dict[str, Any]:
    """A specification as a mapping, fields in their order."""
    values = {key: value for key, value in vars(item).items() if key not in drop}
    return {k: dict(v) if isinstance(v, Mapping) else list(v) if isinstance(v, tuple) else v for k, v in values.items()}
