"""Compiled stages: the same training to rounding, the same names, the same bits after a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch._inductor import compile_fx

from c2o_model.checkpoint import read_checkpoint
from c2o_model.config import ConfigError
from c2o_model.training import compiling
from c2o_model.training import run as module
from c2o_model.training.compiling import missing_for_compile

MISSING = missing_for_compile(torch.device("cpu"))
COMPILE = {"SOLVER.TORCH_COMPILE": True, "MODEL_EMA.ENABLED": True, "MODEL_EMA.DECAY": 0.9, "SOLVER.BASE_LR": 0.004}


class Stopped(Exception):
    """What a crash looks like to the loop."""


@pytest.mark.skipif(bool(MISSING), reason=f"torch.compile on a CPU needs {MISSING}")
def test_compiled_training_falls_as_the_plain_one_and_resumes_with_the_same_bits(
    run_training: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test, since compiling takes a minute; the graphs are then shared by the runs of this process."""
    compiled: list[str] = []
    real = compile_fx.compile_fx

    def counted(*args: Any, **keys: Any) -> Any:
        compiled.append("graph")
        return real(*args, **keys)

    monkeypatch.setattr(compile_fx, "compile_fx", counted)
    monkeypatch.setattr(module, "CURVE_PERIOD", 5)
    plain = run_training(
        tmp_path / "plain", {**COMPILE, "SOLVER.TORCH_COMPILE": False, "SOLVER.MAX_ITER": 40}, SELF_ATTN_IMPL="sdpa"
    )
    assert not compiled
    whole = run_training(tmp_path / "whole", {**COMPILE, "SOLVER.MAX_ITER": 40}, SELF_ATTN_IMPL="sdpa")
    assert compiled == ["graph"]  # one for all stages; attention, whose kernel is chosen and recorded, is left alone
    assert whole[3]["iteration"] == 20 and whole[3]["loss"] < 0.97 * whole[0]["loss"]
    for row, expected in zip(whole[:4], plain[:4], strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-3)

    save = module.save_state

    def stop(*args: Any, **keys: Any) -> None:
        save(*args, **keys)
        raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(module, "save_state", stop)
        run_training(tmp_path / "cut", {**COMPILE, "SOLVER.MAX_ITER": 40}, SELF_ATTN_IMPL="sdpa")
    assert run_training(tmp_path / "cut", {**COMPILE, "SOLVER.MAX_ITER": 40}, SELF_ATTN_IMPL="sdpa") == whole
    a, b, c = (tmp_path / d / "m.safetensors" for d in ("whole", "cut", "plain"))
    assert a.read_bytes() == b.read_bytes()
    assert read_checkpoint(a)[0].keys() == read_checkpoint(c)[0].keys()


@pytest.mark.parametrize(
    "keys", [{"SELF_ATTN_IMPL": "sdpa"}, {"QUALITY_HEAD": True, "GEO_FEAT": True, "GEO_FEAT_MODE": "qk_pos"}]
)
def test_the_captured_graph_is_the_stage(
    run_training: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any]
) -> None:
    """Run by torch's own kernels in place of generated ones, training has the bits of the plain one."""
    real = torch.nn.Module.compile
    seen: list[dict[str, Any]] = []

    def eager(self: torch.nn.Module, **options: Any) -> None:
        seen.append(options)
        real(self, backend="aot_eager", dynamic=options["dynamic"])

    monkeypatch.setattr(torch.nn.Module, "compile", eager)
    monkeypatch.setattr(compiling, "missing_for_compile", lambda device: "")
    values = {"SOLVER.MAX_ITER": 20, "SOLVER.AMP.ENABLED": True, "SOLVER.ACCUMULATE_STEPS": 2}
    plain = run_training(tmp_path / "plain", values, **keys)
    assert not seen
    compiled = {**values, "SOLVER.TORCH_COMPILE": True, "SOLVER.TORCH_COMPILE_MODE": "max-autotune"}
    assert run_training(tmp_path / "compiled", compiled, **keys) == plain
    assert seen == [{"mode": "max-autotune", "dynamic": False}] * 2
    a, b = (tmp_path / d / "m.safetensors" for d in ("plain", "compiled"))
    assert a.read_bytes() == b.read_bytes()


def test_a_machine_without_a_compiler_is_told_so_before_training(
    run_training: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler

    def none() -> str:
        raise InvalidCxxCompiler

    with monkeypatch.context() as patch:
        patch.setattr(cpp_builder, "get_cpp_compiler", none)
        with pytest.raises(ConfigError, match=r"^SOLVER.TORCH_COMPILE: True needs a C\+\+ compiler \(install g\+\+"):
            run_training(tmp_path, COMPILE)
    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", lambda: "g++")
    monkeypatch.setattr(compiling.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    with pytest.raises(ConfigError, match=f"True needs {tmp_path}/Python.h, the headers of Python .*python3-dev"):
        run_training(tmp_path, COMPILE)
    assert missing_for_compile(torch.device("cuda")) == ""


def test_only_a_head_is_compiled(make_config: Any) -> None:
    with pytest.raises(ConfigError, match=r"^SOLVER.TORCH_COMPILE: True compiles the head .*C2OBackbonePretrainer has"):
        make_config({"SOLVER.TORCH_COMPILE": True, "MODEL.META_ARCHITECTURE": "C2OBackbonePretrainer",
                     "MODEL.PRETRAIN.SIZE_EDGES": [16.0, 24.0]})  # fmt: skip
