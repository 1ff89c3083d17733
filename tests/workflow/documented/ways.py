"""How each documented command is tried: the one table that says it. A command that no line fits fails the test.

To add a command: run `pytest tests/workflow/documented`; if no line fits, write one. The first line that fits counts.
`as_written` is the way to prefer. The small suite `tiny` stands where the pages have `step1_5seed` (STANDS_FOR), and
sandbox.py prepares the files that pages name without making them (`some/bundle`, `runs.tsv`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.workflow.documented.reading import Command

# In every command, in this order: what the pages say, and what the sandbox has.
STANDS_FOR = (
    ("step1_5seed", "tiny"),
    ("deliverables/quick", "deliverables/tiny"),  # `quick` is built in the tutorial
    (" quick", " tiny"),
    ("student_1:3:0", "student_1:1:0"),  # tiny has train and eval seeds 0 and 1
    ("student_1:0:3", "student_1:0:1"),
    ("warmstart_20", "warmstart_4"),  # and a teacher of 4 steps
    ("/mnt/share/", "some/share/"),
)


@dataclass(frozen=True)
class Way:
    """How the commands that match `pattern` (from their beginning to their end) are tried.

    Attributes:
        name: `as written`, `dry run`, `reduced`, `run elsewhere`, `not possible here`; the counts have these names.
        changes: what is put in the place of what.
        more: what is put behind it.
        exits: exit codes that the page promises.
        where: `FILE::TEST` that runs the command on other inputs, for `run elsewhere`.
        needs: a program without which it is not run.
        why: what is missing here, for `not possible here`.
    """

    pattern: str
    name: str
    changes: tuple[tuple[str, str], ...] = ()
    more: str = ""
    exits: tuple[int, ...] = (0,)
    where: str = ""
    needs: str = ""
    why: str = ""

    @property
    def runs(self) -> bool:
        """Whether the command is run here; the others are parsed, and their files looked for."""
        return self.name in ("as written", "dry run", "reduced")

    def text_of(self, command: Command) -> str:
        """What is run in the sandbox."""
        text = command.before + command.text
        for old, new in (*STANDS_FOR, *self.changes):
            text = text.replace(old, new)
        return text + self.more


def as_written(pattern: str, exits: Sequence[int] = (0,), **changes: str) -> Way:
    return Way(pattern, "as written", tuple(changes.items()), exits=tuple(exits))


def dry_run(pattern: str, *changes: tuple[str, str], more: str = "") -> Way:
    return Way(pattern, "dry run", changes, more)


def reduced(pattern: str, *changes: tuple[str, str]) -> Way:
    return Way(pattern, "reduced", changes)


def elsewhere(pattern: str, where: str) -> Way:
    return Way(pattern, "run elsewhere", where=where)


def impossible(pattern: str, why: str) -> Way:
    return Way(pattern, "not possible here", why=why)


TRACKERS = "tests/c2o_evidence/bundle/test_trackers.py::"
REPLAY = "tests/workflow/test_replay.py::"
SMOKE = "tests/mmdet/test_smoke.py::"
TRAIN_NET = r"python -m c2o_model\.train_net "
TWO_STEPS = ("SOLVER.MAX_ITER 100", "SOLVER.MAX_ITER 2 SOLVER.IMS_PER_BATCH 2")

WAYS = (
    # make
    as_written(r"make (step1_5seed|quick)"),
    as_written(r"make (attest|extras|mmdet|setup|help|doctor|verify)"),
    dry_run(r"make (test|test-mmdet|check)", ("make ", "make -n ")),
    elsewhere(r"make stack_parity", "tests/mmdet/test_stack_parity.py::test_three_stacks_enter_one_deliverable"),
    elsewhere(r"make docs", "tests/docs/test_site.py::site"),
    # other stacks
    elsewhere(
        r"python -m c2o_model\.mmdet3\.from_c2o .*",
        "tests/mmdet/test_from_c2o.py::test_the_command_prints_a_file_that_gives_the_model",
    ),
    elsewhere(
        r"python -m c2o_model\.mmdet3\.convert .*",
        "tests/mmdet/test_convert.py::test_files_there_and_back_with_metadata_and_parents",
    ),
    elsewhere(r"python -m c2o_model\.data\.digits .*", "tests/c2o_model/data/test_digits.py::test_command_line"),
    elsewhere(r"python -m c2o_model\.mmdet3\.train .*", SMOKE + "test_the_loss_falls_and_there_is_ap"),
    elsewhere(
        r"(python -m c2o_model\.mmdet3\.test|python workflow/scripts/mmdet_results\.py) .*",
        SMOKE + "test_both_metrics_agree_and_the_results_enter_the_evidence",
    ),
    # snakemake and c2o run
    elsewhere(
        r"snakemake --workflow-profile profiles/slurm .*",
        "tests/slurm/test_step1_5seed.py::test_the_bundle_is_the_same_as_made_here",
    ),
    elsewhere(r"c2o run \w+ --on slurm", "tests/slurm/test_driver.py::test_drivers_killed_with_their_jobs_running"),
    dry_run(r"c2o run mine(_reduced)?", more=" -n"),
    as_written(r"snakemake -n deliverables/mine"),
    as_written(r"snakemake deliverables/(step1_5seed|NAME)", NAME="tiny"),
    as_written(r"c2o run (step1_5seed|quick|NAME|my_ablation)( -n)?", NAME="tiny", my_ablation="tiny"),
    # verify
    elsewhere(r"c2o verify .*--level eval", REPLAY + "test_every_run_of_a_bundle_comes_out_again_from_its_checkpoints"),
    elsewhere(
        r"c2o verify .*--level train", REPLAY + "test_everything_trained_again_from_nothing_gives_the_same_files"
    ),
    elsewhere(
        r"c2o (sign|verify) .*(--method model-signing|--public-key) .*",
        "tests/c2o_evidence/signing/test_openssf.py::test_both_ways_and_a_changed_byte",
    ),
    as_written(r"c2o verify some/bundle --level tables", **{"some/bundle": "deliverables/tiny"}),  # the same files
    as_written(r"c2o verify (deliverables/(step1_5seed|quick)|some/bundle)( --level tables| --signer .*)?"),
    as_written(r"python3 (deliverables/\w+|c2o_evidence/templates)/verify\.py( some/bundle)?"),
    as_written(r"c2o verify copy( --level tables)?", exits=(0, 1)),  # a damaged one: see test_the_tutorial
    as_written(r"(cp|chmod|echo|sed|rm|sh -c|\.) .*"),
    # the other commands of c2o
    as_written(r"c2o diff .*", exits=(0, 1), **{"A B": "tiny some/bundle"}),
    as_written(r"c2o stats runs.tsv --compare a b --test wilcoxon", exits=(2,), **{" a b ": " student_1 baseline_1 "}),
    as_written(r"c2o (show|stats|sign|checklist|model-card|tables|adopt|gc|status|doctor) ?.*"),
    as_written(r"c2o export step1_5seed --to .*|c2o export deliverables/step1_5seed --to parquet .*"),
    # pages
    elsewhere(
        r"snakemake --report .*",
        "tests/workflow/test_commands.py::test_the_report_has_tables_and_figures_with_captions_and_needs_no_network",
    ),
    replace(as_written(r"python -m tests\.browser\.screenshots .*"), needs="chromium"),
    as_written(r"c2o report( step1_5seed| -o everything\.html)?"),
    # trackers
    elsewhere(r"tensorboard .*", f"{TRACKERS}test_tensorboard_reads_the_numbers_of_the_records"),  # it serves for ever
    elsewhere(r"c2o track .* --to mlflow --uri http.*", f"{TRACKERS}test_mlflow_reads_the_numbers_of_the_records"),
    elsewhere(r"c2o track .* --to wandb", f"{TRACKERS}test_wandb_reads_the_numbers_of_the_records"),
    elsewhere(r"C2O_TRACK=.* c2o run .*", f"{TRACKERS}test_a_build_tells_the_trackers_that_are_asked_for"),
    impossible(r"wandb sync .*", "it uploads, with the reader's account"),
    as_written(r"c2o track step1_5seed( --to mlflow)?"),
    # what C2O makes of results and of pictures
    as_written(
        r"c2o (predict|watch) data/digits(_mini)?/\S+ --checkpoint \S+:\S+.*", **{"data/digits/": "data/digits_mini/"}
    ),
    as_written(r"c2o new-suite mine( --from .*)?", **{"mine --from": "mine_too --from"}),  # one or the other
    as_written(r"c2o data (list|plan \w+)"),
    as_written(r"c2o data check coco", exits=(2,)),  # it is not here
    # signatures by hand
    as_written(r"cd manifests/signatures/.*|ssh-keygen -Y verify .*|sha256sum \.\./.*"),
    as_written(r"openssl ecparam .*"),
    # the public validator
    elsewhere(
        r".*(rocrate-validator|prime_rocrate_cache\.py) .*",
        "tests/c2o_evidence/bundle/test_crate_validates.py::test_it_holds_and_only_what_names_people_and_addresses_is_left",
    ),
    # the model's own programs
    reduced(TRAIN_NET + r".*configs/models/digits/.* SOLVER\.MAX_ITER 100", TWO_STEPS),
    as_written(TRAIN_NET + r".*configs/models/digits/.* --eval-only .*"),
    elsewhere(TRAIN_NET + r".*--dry-run .*", "tests/c2o_model/test_dry_run.py::test_several_steps"),
    elsewhere(
        TRAIN_NET + r".*configs/models/recipes/.*", "tests/c2o_model/test_train_net.py::test_train_then_evaluate"
    ),
    elsewhere(
        TRAIN_NET + r".*configs/models/coco/diffusiondet_r50.*",
        "tests/c2o_model/test_released.py::test_a_file_with_wrapper_and_buffers_loads_and_a_wrong_one_is_named",
    ),
    elsewhere(r"srun .*", "tests/slurm/test_several_nodes.py::test_two_nodes_train_as_one"),
    elsewhere(
        TRAIN_NET + r"--num-gpus 8.*…", "tests/c2o_model/test_train_net.py::test_several_processes_on_one_command_line"
    ),
    impossible(r"torchrun .*", "it needs 8 GPUs; who joins whom: tests/c2o_model/test_rendezvous.py"),
    elsewhere(r"python -m c2o_model\.imagenet .*", "tests/c2o_model/test_imagenet.py::test_the_command"),
    elsewhere(r"python -m c2o_model\.transfer .*", "tests/c2o_model/test_transfer.py::test_the_command"),
    elsewhere(
        r"python -m c2o_model\.data\.build_repro10k .*",
        "tests/c2o_model/data/test_build_repro10k.py::test_two_people_get_the_same_bytes",
    ),
    # the machine
    as_written(r"export EXTRA_COCO_DATASETS=.*"),
    impossible(r"git clone ….*", "the address is the reader's, and the environment comes from the network"),
    impossible(r"squeue .*", "it asks a cluster; tests/slurm starts one and asks it"),
)


def way_of(command: Command) -> Way:
    """The first line of the table that fits.

    Raises:
        LookupError: none fits; the message says what to do.
    """
    for way in WAYS:
        if re.fullmatch(way.pattern, command.text):
            return replace(way, pattern=command.text)
    raise LookupError(
        f"{command}: no line of WAYS in tests/workflow/documented/ways.py says how this is tried; add one: as_written "
        "if it runs in a small checkout, dry_run or reduced if it takes long, elsewhere with the test that runs it, "
        "impossible with the reason"
    )
