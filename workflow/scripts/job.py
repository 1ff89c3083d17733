"""What surrounds the one call of a job: pins, log, terminal lines, input checks, GPUs, record, readable errors."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from c2o_evidence.code import code_digest
from c2o_evidence.digests import check_sidecar, sha256_file
from c2o_evidence.errors import EvidenceError, SlotError
from c2o_evidence.records import read_record, utc_now, write_record
from c2o_evidence.slots import Assignment, assign, devices_needed, devices_of_gres
from c2o_evidence.suite import Suite, load_suite
from c2o_model.determinism import pin_environment
from c2o_model.lifeline import signal_at_end_of_parent


class Job:
    """A running job. What it prints goes to its log; `say` writes a line to the terminal.

    locks: descriptors that hold its GPUs; processes that it starts get them.
    """

    locks: tuple[int, ...] = ()

    def __init__(self, snakemake: Any, terminal: int) -> None:
        self.snakemake = snakemake
        self._terminal = terminal
        self._parent = os.getppid()
        self._clock = time.monotonic()
        self.started = utc_now()
        self.root = Path(snakemake.scriptdir).resolve().parents[1]
        wildcards = snakemake.wildcards
        self.title = " ".join([snakemake.rule, *wildcards])

    @cached_property
    def suite(self) -> Suite:
        """The suite of the job, as it is now."""
        return load_suite(self.snakemake.wildcards.suite, self.root)

    @property
    def results(self) -> Path:
        """`results/SUITE`."""
        return Path("results", self.suite.name)

    @property
    def lock_file(self) -> Path:
        """The environment lock."""
        return self.root / "requirements" / "lock.txt"

    def say(self, text: str) -> None:
        took = round(time.monotonic() - self._clock)
        os.write(self._terminal, f"  {self.title}: {text}{f' ({took} s)' if took else ''}\n".encode())

    def end_with_parent(self, by: int = signal.SIGKILL) -> None:
        """Have Linux send this process a signal when Snakemake dies: a re-run never meets the writers of a killed one.

        Without SIGKILL it must see to that itself.
        """
        signal_at_end_of_parent(by)
        if self.is_orphan():
            sys.exit(f"{self.title}: Snakemake, which has started this job, is gone")

    def is_orphan(self) -> bool:
        """Whether Snakemake, which has started this process, is gone."""
        return os.getppid() != self._parent

    def as_planned(self, digest: str) -> None:
        """Refuse to work where a configuration or source file was edited after the run was planned.

        Snakemake keeps the digest of the plan: nothing made from another state of the files may bear it.

        Raises:
            EvidenceError: `digest`, computed now, is not the one that the plan has.
        """
        if digest not in (planned := list(self.snakemake.params)):
            raise EvidenceError(
                f"{self.title}: a configuration or source file was edited while the run was going on "
                f"(planned {planned[0]}, now {digest}); type the command again"
            )

    def take_gpus(self) -> Assignment:
        """The devices that the rule asks for with its resource `gpu`, this process's until it and its children end.

        Raises:
            SlotError: fewer are there, or the run may use none and the job needs one, or MODEL.DEVICE is wrong.
        """
        resources = self.snakemake.resources
        asked = resources.get("gpu")
        if asked is not None:
            asked = asked or devices_of_gres(str(resources.get("gres", "")))
            needed = devices_needed(self.suite, self.snakemake.wildcards.get("experiment"))
            if needed and not asked:
                raise SlotError(f"{self.title}: MODEL.DEVICE is cuda, and --resources or --set-resources allow gpu=0")
        given = assign(asked or 0, self.title, os.environ, self.say, resources.get("nodes", 1))
        if asked:
            print(given.text, flush=True)
        return given

    def refuse_stale_results(self) -> None:
        """Check by their records that all results were made by what the suite and the sources are now.

        Snakemake sees to that as long as it has its own notes. Without them (a deleted .snakemake, results copied
        from elsewhere) it takes for current whatever lies there.

        Raises:
            EvidenceError: a result was made by something else; its directory is named.
        """
        suite = self.suite
        digests = {f"train/{name}/seed{seed}": suite.recipe(name, seed).digest for name, seed in suite.train_jobs}
        digests |= {f"eval/{name}/seed{seed}": suite.eval_digest(name, seed) for name, seed in suite.eval_jobs}
        digests["tables"] = suite.tables_digest()
        digests |= {"timing": suite.timing_digest()} if suite.timing else {}
        digests |= {"attention": suite.attention_digest()} if suite.attention else {}
        digests |= {"gallery": suite.gallery_digest()} if suite.gallery else {}
        digests |= {"parity": suite.parity_digest()} if suite.parity else {}
        for place, digest in digests.items():
            if digest not in read_record(self.results / place / "record.json").parameters.values():
                raise EvidenceError(
                    f"{self.results / place}: was made by another configuration or other sources than those here, and "
                    "Snakemake has no note of it; delete this directory and type the command again"
                )

    def record(self, part: str, nondeterminism: Sequence[str] = (), **more: Any) -> None:
        """Write the record, last of all outputs.

        `part` names the sources of the job (c2o_evidence.code); `more` goes into its parameters.
        """
        made = {name: path for name, path in _files(self.snakemake.output).items() if name != "record"}
        write_record(
            self.snakemake.output.record,
            rule=self.snakemake.rule,
            inputs=_files(self.snakemake.input),
            outputs=made,
            parameters={**dict(self.snakemake.wildcards.items()), **dict(self.snakemake.params.items()), **more},
            lock_sha256=sha256_file(self.lock_file),
            code_sha256=code_digest(self.root, part),
            started=self.started,
            suite_dir=self.results,
            nondeterminism=nondeterminism,
        )


@contextmanager
def job(snakemake: Any) -> Iterator[Job]:
    """Run the body of a script; enter before anything imports torch.

    The body starts with the checkpoints among the inputs checked against their sidecars, and with the GPUs that the
    rule asks for as the only ones it sees. An error ends the process with status 1 and is in the log: one line where
    it says what to do, else with its traceback.
    """
    pin_environment()
    log = Path(snakemake.log[0])
    terminal = os.dup(sys.stderr.fileno())
    with log.open("wb") as stream:
        os.dup2(stream.fileno(), sys.stdout.fileno())
        os.dup2(stream.fileno(), sys.stderr.fileno())
    running = Job(snakemake, terminal)
    running.end_with_parent()
    try:
        for path in snakemake.input:
            if path.endswith("/model.safetensors"):
                check_sidecar(path)
        gpus = running.take_gpus()
        running.locks = gpus.descriptors
        try:
            yield running
        finally:
            gpus.release()
    except Exception as error:
        if _tells_what_to_do(error):
            print(f"Error: {error}", file=sys.stderr)
        else:
            traceback.print_exc()
        sys.exit(1)


def _tells_what_to_do(error: Exception) -> bool:
    """Whether it is one of the projects' own errors, whose messages are written for the user."""
    return type(error).__module__.startswith(("c2o_evidence.", "c2o_model."))


def _files(named: Any) -> dict[str, str]:
    """Inputs or outputs by name; those of a list, and the files of a directory, get a number behind it."""
    found: dict[str, str] = {}
    for name, value in named.items():
        if isinstance(value, str) and os.path.isdir(value):
            value = sorted(str(path) for path in Path(value).iterdir() if not path.name.startswith("."))
        if isinstance(value, str):
            found[name] = value
        else:
            found |= {f"{name}.{number}": path for number, path in enumerate(value)}
    return found
