"""What makes the same work give the same bits: one thread, pinned instruction sets, seeds by derivation.

``pinned_env()`` must be in the environment before torch is imported, so this module imports torch only inside
:func:`set_deterministic`. Called by every entry point (``train_net``, the workflow's scripts, the tests). Source:
evidence.md.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

CHOICE = "C2O_INSTRUCTION_SET"  # environment variable: AVX2 or AVX512 instead of the best one here
AVX512_FLAGS = {"avx512f", "avx512bw", "avx512dq", "avx512vl"}


def instruction_set(environ: Mapping[str, str] = os.environ, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The set that all libraries are pinned to: ``AVX512`` where the processor has it, else ``AVX2``.

    Machines with the same set and processor type agree bit for bit. AVX512 saves a fifth of training time; set
    C2O_INSTRUCTION_SET=AVX2 to compare with a machine that lacks it.

    Raises:
        ValueError: C2O_INSTRUCTION_SET names another set.
    """
    if chosen := environ.get(CHOICE):
        if chosen not in ("AVX2", "AVX512"):
            raise ValueError(f"{CHOICE}: {chosen!r} is not one of AVX2, AVX512")
        return chosen
    try:
        flags = next(line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")).split()
    except (OSError, StopIteration):
        return "AVX2"
    return "AVX512" if AVX512_FLAGS.issubset(flags) else "AVX2"


def pinned_env(threads: int = 1) -> dict[str, str]:
    """Environment that pins thread counts and instruction sets of torch, oneDNN and MKL (ignored where not x86)."""
    chosen = instruction_set()
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "MKL_CBWR": chosen,
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE" if chosen == "AVX512" else chosen,
        "ATEN_CPU_CAPABILITY": chosen.lower(),
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONHASHSEED": "0",
    }


def pin_environment(environ: MutableMapping[str, str] = os.environ, threads: int = 1) -> None:
    """Write :func:`pinned_env` into ``environ``. Call it before anything imports torch."""
    environ.update(pinned_env(threads))


def set_deterministic(threads: int = 1) -> tuple[str, ...]:
    """Switch torch to deterministic kernels and ``threads`` threads.

    Returns the names of what stays nondeterministic on this device (empty on CPU), for the record.
    """
    import torch

    keep_freed_memory()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    torch.utils.deterministic.fill_uninitialized_memory = False  # 5 % of a step, and no kernel here reads such memory
    torch.backends.cudnn.benchmark = False
    if torch.cuda.is_available():
        return ("torchvision roi_align backward (atomic additions on CUDA)",)
    return ()


def keep_freed_memory() -> None:
    """Tell glibc to reuse large blocks instead of returning them to the system: saves a tenth of a training step.

    Every step allocates the same tens of megabytes; by default each comes as fresh pages that must be zeroed. Does
    nothing elsewhere.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 64 * 2**20)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            libc.mallopt(option, value)


def derive_seed(purpose: str, *numbers: int) -> int:
    """A 63-bit seed from a purpose and numbers (train seed, iteration, image id, …) by sha256.

    Different purposes and neighbouring seeds have unrelated streams (torch's CPU generator uses the low 32 bits).
    """
    text = "/".join([purpose, *(str(int(n)) for n in numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
