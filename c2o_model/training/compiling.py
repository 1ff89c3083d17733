"""SOLVER.TORCH_COMPILE: the stages of the head as compiled graphs while training.

Each stage is compiled in place, so parameters and state-dict names stay. RoI pooling, matching and losses, whose
shapes follow the data, stay as they are. Shapes are compiled as they come, never generalised: a resumed run must use
the kernels of one that was not stopped. Evaluation and teachers are not compiled. Called by the training loop.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

import torch
from torch import nn

from c2o_model.config import ConfigError
from c2o_model.modeling.detector import DiffusionDet

KEY = "SOLVER.TORCH_COMPILE"


def missing_for_compile(device: torch.device) -> str:
    """What torch.compile lacks on this machine: for a CPU a C++ compiler and Python's headers. "" for nothing."""
    if device.type != "cpu":
        return ""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "a C++ compiler (install g++, or name one in the environment variable CXX)"
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return "" if header.is_file() else f"{header}, the headers of Python for its C++ compiler (python3-dev)"


def compile_head(model: nn.Module, mode: str) -> None:
    """Compile every stage of ``model``'s head in place, at its first call.

    Raises:
        ConfigError: the machine cannot compile.
    """
    assert isinstance(model, DiffusionDet)  # the configuration's check has seen to it
    missing = missing_for_compile(model.device)
    if missing:
        raise ConfigError(f"{KEY}: True needs {missing}; or set it to False")
    for stage in model.head.head_series:
        stage.compile(mode=mode, dynamic=False)
