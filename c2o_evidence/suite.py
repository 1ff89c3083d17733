"""A suite: the experiments, runs and tables of one deliverable, as read from `configs/suites/NAME.yaml`.

`load_suite` reads and checks the file (see suite_check.py). The `Suite` then answers which checkpoints,
runs and rows there are, and gives every job a digest over all that decides its result: plain hexadecimal
text, the same on every machine and in every directory, and unmoved by comments, the order of keys, file
names and descriptions.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from c2o_evidence.code import code_digest
from c2o_evidence.digests import json_digest
from c2o_evidence.errors import SuiteError
from c2o_evidence.extent import EDITION
from c2o_evidence.model_config import config_digest, merge_config
from c2o_evidence.once import once
from c2o_evidence.schemas import did_you_mean
from c2o_evidence.suite_gallery import GallerySpec, gallery_digest
from c2o_evidence.suite_parts import check_parts
from c2o_evidence.suite_spec import (
    AttentionSpec,
    Comparison,
    Experiment,
    MainRow,
    Parent,
    Recipe,
    Selection,
    Speedup,
    SuiteRow,
    TimingSpec,
    Tolerances,
    plain,
    plain_row,
)
from c2o_evidence.suite_stack import others, parity_digest, stack_digest, twins
from c2o_evidence.yaml_file import dump_yaml

__all__ = [
    "AttentionSpec",
    "Comparison",
    "Experiment",
    "MainRow",
    "Parent",
    "Recipe",
    "Selection",
    "Speedup",
    "Suite",
    "SuiteRow",
    "TimingSpec",
    "Tolerances",
    "load_resolved_suite",
    "load_suite",
]


@dataclass(frozen=True)
class Suite:
    """A checked suite. `path` and all paths in it are relative to `root`, the repository.

    A suite read from a bundle (`load_resolved_suite`) has `root` None: it knows its tables, but gives no
    recipes. A suite without rows (an attention benchmark) has no data set, seeds or experiments either.
    """

    name: str
    path: str
    root: Path | None
    title: str
    description: str
    dataset: str
    data_config: Mapping[str, Any]
    train_seeds: tuple[int, ...]
    eval_seeds: tuple[int, ...]
    experiments: Mapping[str, Experiment]
    rows: tuple[SuiteRow, ...]
    main_table: tuple[MainRow, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    speedups: tuple[Speedup, ...] = ()
    timing: TimingSpec | None = None
    attention: AttentionSpec | None = None
    gallery: GallerySpec | None = None
    tolerances: Tolerances | None = None
    _cache: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def data_name(self) -> str:
        """The data set's name: its files are in `data/NAME`. Empty where the suite needs no data."""
        return str(self.data_config.get("name", ""))

    def experiment(self, name: str) -> Experiment:
        """The experiment of that name.

        Raises:
            SuiteError: there is none.
        """
        if name not in self.experiments:
            known = did_you_mean(name, self.experiments)
            raise SuiteError(f"{self.path}: {name!r} is not an experiment of this suite; {known}")
        return self.experiments[name]

    def row(self, exp_id: str) -> SuiteRow:
        """The row of that exp_id.

        Raises:
            SuiteError: there is none.
        """
        for row in self.rows:
            if row.exp_id == exp_id:
                return row
        raise SuiteError(f"{self.path}: {exp_id!r} is not a row; {did_you_mean(exp_id, [r.exp_id for r in self.rows])}")

    def seeds_of(self, experiment: str) -> tuple[int, ...]:
        """Train seeds of an experiment: `(0,)` for a shared one."""
        return (0,) if self.experiment(experiment).shared else self.train_seeds

    def seed_of(self, experiment: str, seed: int) -> int:
        """The train seed of an experiment's checkpoint that goes with train seed `seed`: 0 for a shared one."""
        return 0 if self.experiment(experiment).shared else seed

    def rows_of(self, experiment: str) -> tuple[SuiteRow, ...]:
        """Rows evaluated on an experiment's checkpoints, in table order."""
        self.experiment(experiment)
        return self._rows_by_experiment.get(experiment, ())

    @cached_property
    def _rows_by_experiment(self) -> dict[str, tuple[SuiteRow, ...]]:
        groups: dict[str, list[SuiteRow]] = {}
        for row in self.rows:
            groups.setdefault(row.experiment, []).append(row)
        return {name: tuple(rows) for name, rows in groups.items()}

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """Experiments that a row needs, directly or as init or teacher; parents come first."""
        order: dict[str, None] = {}

        def visit(name: str) -> None:
            if name not in order:
                experiment = self.experiments[name]
                for parent in (experiment.init, experiment.teacher):
                    if parent is not None:
                        visit(parent)
                order[name] = None

        for row in self.rows:
            visit(row.experiment)
        return tuple(order)

    @cached_property
    def evaluated(self) -> tuple[str, ...]:
        """Experiments that have rows, parents first."""
        with_rows = {row.experiment for row in self.rows}
        return tuple(name for name in self.needed if name in with_rows)

    @cached_property
    def train_jobs(self) -> tuple[tuple[str, int], ...]:
        """(experiment, train seed) of every checkpoint, parents first."""
        return tuple((name, seed) for name in self.needed for seed in self.seeds_of(name))

    @cached_property
    def eval_jobs(self) -> tuple[tuple[str, int], ...]:
        """(experiment, train seed) of every evaluation job, each covering all its rows and eval seeds."""
        return tuple((name, seed) for name in self.evaluated for seed in self.seeds_of(name))

    def config_of(self, experiment: str) -> dict[str, Any]:
        """The merged training configuration of an experiment, a fresh copy.

        Raises:
            SuiteError: a model file is wrong, or the suite was read from a bundle.
        """
        return copy.deepcopy(self._config(experiment))

    @once
    def _config(self, experiment: str) -> dict[str, Any]:
        spec = self.experiment(experiment)
        return merge_config(spec.model, self._need_root(), spec.opts)

    @once
    def _config_digest(self, experiment: str) -> str:
        return config_digest(self._config(experiment))

    def recipe(self, experiment: str, seed: int) -> Recipe:
        """The recipe of one checkpoint. Any seed asked of a shared experiment gives its one recipe, of seed
        0.

        Raises:
            SuiteError: an unknown experiment, a seed that is not the suite's, a model file that is wrong.
        """
        spec = self.experiment(experiment)
        if spec.shared:
            seed = 0
        elif seed not in self.train_seeds:
            raise SuiteError(f"{self.path}: train_seeds: {seed} is not one of {list(self.train_seeds)}")
        return self._recipe(experiment, seed)

    @once
    def _recipe(self, experiment: str, seed: int) -> Recipe:
        spec, config_sha256 = self.experiment(experiment), self._config_digest(experiment)
        data_sha256, code_sha256 = self.data_digest(), self._code("train")
        init, teacher = self._parent(spec.init, seed), self._parent(spec.teacher, seed)
        chain = {
            "kind": "train",
            "config": config_sha256,
            "seed": seed,
            "data": data_sha256,
            "code": code_sha256,
            "init": init.digest if init else None,
            "teacher": teacher.digest if teacher else None,
        }
        if spec.processes > 1:  # sums over parts of a batch round otherwise than one pass over it
            check_parts(self._config(experiment), spec.processes, f"{self.path}: experiments.{spec.name}")
            chain["processes"] = spec.processes
        return Recipe(
            experiment=experiment,
            seed=seed,
            config=self._config(experiment),
            config_sha256=config_sha256,
            data_sha256=data_sha256,
            code_sha256=code_sha256,
            init=init,
            teacher=teacher,
            digest=json_digest(chain),
        )

    def _parent(self, name: str | None, seed: int) -> Parent | None:
        if name is None:
            return None
        recipe = self.recipe(name, seed)
        return Parent(name, recipe.seed, recipe.digest)

    @once
    def data_digest(self) -> str:
        """Digest of the data configuration (what it is, not how it is described)."""
        return json_digest({key: value for key, value in self.data_config.items() if key != "description"})

    @once
    def generate_digest(self) -> str:
        """Digest of what decides the data files: the data configuration and the generator's sources."""
        return json_digest({"kind": "data", "data": self.data_digest(), "code": self._code("data")})

    @once
    def eval_digest(self, experiment: str, seed: int) -> str:
        """Digest of what decides one checkpoint's results: recipe, rows, eval seeds, evaluation sources."""
        rows = [[r.exp_id, r.sample_step, dict(r.opts), *others([r])] for r in self.rows_of(experiment)]
        decided = {
            "kind": "evaluate",
            "recipe": self.recipe(experiment, seed).digest,
            "rows": sorted(rows, key=lambda row: str(row[0])),
            "eval_seeds": sorted(self.eval_seeds),
            "code": self._code("evaluate"),
        }
        stacks = {name: self.stack_digest(name) for name in others(self.rows_of(experiment))}
        return json_digest(decided | ({"stacks": stacks} if stacks else {}))

    @property
    def parity(self) -> bool:
        """Whether a row of another stack has its twin in the core, so that there is a table of their differences."""
        return bool(twins(self))

    @once
    def parity_digest(self) -> str:
        """Digest of what decides the table of these differences: evaluations, its sources."""
        return parity_digest(self, self._code("parity"))

    @once
    def stack_digest(self, name: str) -> str:
        """Digest of what a stack other than the core adds to an evaluation."""
        return stack_digest(self._need_root(), name)

    @once
    def timing_digest(self) -> str:
        """Digest of what is timed: recipes of the checkpoints, rows, the timing section, its sources."""
        seed = self.timing.train_seed if self.timing else 0
        rows = [
            [row.exp_id, row.sample_step, dict(row.opts), self.recipe(row.experiment, seed).digest]
            for row in (self.rows if self.timing else ())
        ]
        return json_digest(
            {
                "kind": "timing",
                "rows": sorted(rows, key=lambda row: str(row[0])),
                "spec": vars(self.timing) if self.timing else None,
                "code": self._code("timing"),
            }
        )

    @once
    def attention_digest(self) -> str:
        """Digest of the attention section and its sources."""
        spec = vars(self.attention) if self.attention else None
        return json_digest({"kind": "attention", "spec": spec, "code": self._code("attention")})

    @once
    def gallery_digest(self) -> str:
        """Digest of what decides the gallery: its section, the recipes of its rows, the eval seeds, its sources."""
        return gallery_digest(self, self._code("gallery"))

    @once
    def tables_digest(self, edition: int = EDITION) -> str:
        """Digest of what decides the tables: evaluation, timing, attention digests, labels, order, specs."""
        return json_digest(
            {
                "kind": "tables" if edition == 1 else f"tables, edition {edition}",
                "title": self.title,
                "rows": [
                    [row.exp_id, row.label, row.experiment, *([vars(row.selected)] if row.selected else [])]
                    for row in self.rows
                ],
                "main": [vars(row) for row in self.main_table],
                "comparisons": [vars(item) for item in self.comparisons],
                "speedups": [vars(item) for item in self.speedups],
                "evaluations": [self.eval_digest(name, seed) for name, seed in self.eval_jobs],
                "timing": self.timing_digest(),
                "attention": self.attention_digest(),
                "code": self._code("tables"),
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """The resolved suite as plain data: `extends` merged, main table and data configuration put in."""
        document: dict[str, Any] = {"name": self.name}
        document |= {key: getattr(self, key) for key in ("title", "description") if getattr(self, key)}
        if self.rows:
            document["dataset"] = self.dataset
            document["data_config"] = copy.deepcopy(dict(self.data_config))
            document["train_seeds"] = list(self.train_seeds)
            document["eval_seeds"] = list(self.eval_seeds)
            document["experiments"] = {
                name: plain(spec, drop=("name", *(("processes",) if spec.processes == 1 else ())))
                for name, spec in sorted(self.experiments.items())
            }
            document["rows"] = [plain_row(row) for row in self.rows]
        for key in ("main_table", "comparisons", "speedups"):
            document[key] = [plain(item) for item in getattr(self, key)]
        for key in ("timing", "attention", "gallery", "tolerances"):
            if getattr(self, key) is not None:
                document[key] = plain(getattr(self, key))
        return document

    def to_yaml(self) -> str:
        """The resolved suite as YAML text; `load_resolved_suite` reads it. Equal suites give equal bytes."""
        return dump_yaml(self.to_dict(), width=100)

    def with_sources(
        self, configs: Mapping[str, Mapping[str, Any]], code: Mapping[str, str], stacks: Mapping[str, str] | None = None
    ) -> "Suite":
        """This suite with sources that are given and not read: what a verifier has of a suite from a bundle.

        Args:
            configs: merged configuration by experiment. code: digest of the sources by part (c2o_evidence.code).
            stacks: `stack_digest` by name. Digests that need more than what is given raise SuiteError.
        """
        known: dict[Any, Any] = {("_config", name): dict(config) for name, config in configs.items()}
        known |= {("_code", part): digest for part, digest in code.items()}
        known |= {("stack_digest", name): digest for name, digest in (stacks or {}).items()}
        return replace(self, root=None, _cache=known)

    @once
    def _code(self, part: str) -> str:
        return code_digest(self._need_root(), part)

    def _need_root(self) -> Path:
        if self.root is None:
            raise SuiteError(
                f"{self.path}: was read from a bundle, which has no model configurations; use the repository"
            )
        return self.root


def load_suite(name_or_path: str | Path, root: Path | str = ".") -> Suite:
    """Read and check a suite.

    Args:
        name_or_path: NAME of `configs/suites/NAME.yaml`, or the path of such a file, relative to `root` or
            to here; NAME_reduced is the suite NAME with its `reduced` section put in.
        root: the repository.

    Raises:
        SuiteError: `FILE: KEY: VALUE what is wrong; what to do`, the first fault found.
    """
    from c2o_evidence.suite_check import read_suite

    return read_suite(name_or_path, Path(root))


def load_resolved_suite(path: Path | str) -> Suite:
    """Read and check the resolved `suite.yaml` of a bundle. The suite has no root, hence no recipes.

    Raises:
        SuiteError: as `load_suite`.
    """
    from c2o_evidence.suite_check import read_resolved

    return read_resolved(Path(path))
