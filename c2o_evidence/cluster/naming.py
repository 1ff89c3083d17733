"""Which SLURM jobs write in a checkout: by the name that we give them, and by where and how they were submitted.

The name of a job is `c2o-SUITE-DIGEST_UUID`, DIGEST being that of the checkout's path. A Snakemake that was started
without `c2o run` names its jobs otherwise: those are known by their working directory and the plugin's comment.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from c2o_evidence.digests import sha256_bytes

if TYPE_CHECKING:
    from c2o_evidence.cluster.queue import QueuedJob

MAX_PREFIX = 50  # characters that the plugin allows
DIGEST_LENGTH = 12
_UUID = re.compile(r"(?:.*_)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_COMMENT = re.compile(r"(?:rule|group)_")


def checkout_digest(root: Path) -> str:
    """What tells the jobs of this checkout from those of others; the same as long as it stays in its place."""
    return sha256_bytes(str(root.resolve()).encode("utf-8", "surrogateescape"))[:DIGEST_LENGTH]


def job_prefix(root: Path, suite: str) -> str:
    """The prefix of the job names of a suite: a long name of a suite is cut, the digest never."""
    room = MAX_PREFIX - len("c2o--") - DIGEST_LENGTH
    return f"c2o-{suite[:room]}-{checkout_digest(root)}"


def writes_in(job: QueuedJob, root: Path) -> bool:
    """Whether a Snakemake submitted the job from this checkout, whichever way it was started."""
    if re.match(rf"c2o-.+-{checkout_digest(root)}_", job.name):
        return True
    submitted_here = job.directory == str(root.resolve())
    return bool(submitted_here and _UUID.fullmatch(job.name) and _COMMENT.match(job.comment))
