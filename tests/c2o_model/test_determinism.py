"""Pinned environments and derived seeds."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from c2o_model.determinism import derive_seed, instruction_set, pin_environment, pinned_env, set_deterministic


def test_derived_seeds_are_sha256_of_what_they_are_for() -> None:
    for purpose, numbers in (("train", (0, 17)), ("sample", (3, 5, 0, 2)), ("init", ())):
        text = "/".join([purpose, *map(str, numbers)])
        assert derive_seed(purpose, *numbers) == int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) // 2
    assert 0 <= derive_seed("x", -1) < 2**63


def test_derived_seeds_do_not_collide() -> None:
    keys = [("a", i, j) for i in range(60) for j in range(60)] + [("b", i) for i in range(400)] + [("a", 1, 1, 1)]
    assert len({derive_seed(p, *n) for p, *n in keys}) == len(keys)
    assert derive_seed("a", 1, 23) != derive_seed("a", 12, 3)


def test_the_environment_pins_threads_and_instruction_sets() -> None:
    environ = {"OMP_NUM_THREADS": "8", "HOME": "/x"}
    pin_environment(environ)
    assert environ["HOME"] == "/x"
    assert {k: environ[k] for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")} == {
        "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"
    }  # fmt: skip
    names = (environ["ATEN_CPU_CAPABILITY"], environ["ONEDNN_MAX_CPU_ISA"], environ["MKL_CBWR"])
    assert names in {("avx2", "AVX2", "AVX2"), ("avx512", "AVX512_CORE", "AVX512")}
    assert pinned_env(3)["OMP_NUM_THREADS"] == "3"
    assert os.environ["MKL_CBWR"] == instruction_set()  # done by the tests' conftest, before torch


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fma avx2 avx512f avx512bw avx512dq avx512vl", "AVX512"),
        ("fma avx2 avx512f avx512bw avx512dq", "AVX2"),  # one of the four is missing
        ("fma avx2", "AVX2"),
    ],
)
def test_the_best_instruction_set_of_the_processor_is_taken(tmp_path: Path, flags: str, expected: str) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"model name\t: x\nflags\t\t: {flags}\n")
    assert instruction_set({}, cpuinfo) == expected
    assert instruction_set({"C2O_INSTRUCTION_SET": "AVX2"}, cpuinfo) == "AVX2"
    assert instruction_set({}, tmp_path / "absent") == "AVX2"


def test_an_unknown_instruction_set_is_refused() -> None:
    with pytest.raises(ValueError, match="C2O_INSTRUCTION_SET: 'SSE' is not one of AVX2, AVX512"):
        instruction_set({"C2O_INSTRUCTION_SET": "SSE"})


def test_the_module_does_not_import_torch_before_the_environment_is_set() -> None:
    code = "import sys, c2o_model.determinism as d; d.pin_environment(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_deterministic_kernels_on_one_thread() -> None:
    assert set_deterministic() == () or torch.cuda.is_available()
    try:
        assert torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == 1
        x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
        index = torch.arange(40) % 3
        sums = [torch.zeros(3, 5).index_add_(0, index, x) for _ in range(3)]
        assert all(torch.equal(s, sums[0]) for s in sums)
    finally:
        torch.use_deterministic_algorithms(False)
