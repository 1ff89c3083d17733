"""The rows of the attention benchmark: all cases present, honest where a kernel is absent, memory right."""

import json
import math
from pathlib import Path

import pytest
import torch

from c2o_model.evaluation.attention_bench import AttentionRow, bench_attention

NODES, HEADS, DIM = [16, 100], 4, 32


@pytest.fixture(scope="module")
def rows() -> list[AttentionRow]:
    return bench_attention(NODES, HEADS, DIM, repeats=3)


def test_every_case_has_one_row(rows: list[AttentionRow]) -> None:
    kernels = {("torch", "-"), ("sdpa", "flash"), ("sdpa", "mem_efficient"), ("sdpa", "math")}
    found = [(r["impl"], r["backend"], r["bias"], r["nodes"]) for r in rows]
    assert len(found) == len(set(found))
    assert set(found) == {(*k, bias, n) for k in kernels for bias in ("none", "additive") for n in NODES}


def test_columns_are_those_of_the_schema(rows: list[AttentionRow]) -> None:
    schema = json.loads((Path(__file__).parents[3] / "workflow/schemas/attention.schema.json").read_text())
    columns = set(schema["required"]) - {"hardware_id"}  # the workflow adds the machine
    for row in rows:
        assert columns <= set(row)
        assert row["impl"] in schema["properties"]["impl"]["enum"]
        assert row["bias"] in schema["properties"]["bias"]["enum"]


def test_rows_that_ran_agree_with_torch(rows: list[AttentionRow]) -> None:
    for row in rows:
        if row["backend"] == "mem_efficient":
            continue
        assert row["status"] == "ok" and row["max_abs_diff"] < 1e-5
        assert 0 < row["time_s_min"] <= row["time_s"] and row["time_s_iqr"] >= 0
        assert (row["heads"], row["dim"], row["batch"], row["repeats"]) == (HEADS, DIM, 1, 3)
        assert (row["dtype"], row["device"], row["threads"]) == ("float32", "cpu", torch.get_num_threads())


def test_an_absent_kernel_says_why(rows: list[AttentionRow]) -> None:
    absent = [r for r in rows if r["backend"] == "mem_efficient"]
    assert len(absent) == 4
    for row in absent:
        assert "'mem_efficient' cannot serve float32 on cpu" in row["status"]
        assert math.isnan(row["time_s"]) and math.isnan(row["max_abs_diff"]) and row["peak_bytes"] is None


def test_peak_memory_is_what_the_arithmetic_needs(rows: list[AttentionRow]) -> None:
    """`torch` holds two [H, N, N] matrices at its peak; flash, which needs none, stays below one."""
    peak = {(r["backend"], r["bias"], r["nodes"]): r["peak_bytes"] for r in rows}
    matrix = 4 * HEADS * 100 * 100
    projected = 4 * 100 * DIM * 3
    for bias in ("none", "additive"):
        plain, flash = peak["-", bias, 100], peak["flash", bias, 100]
        assert plain is not None and flash is not None
        assert 2 * matrix <= plain <= 2 * matrix + 2 * projected
        assert flash < matrix + projected


def test_the_callers_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    bench_attention([4], 2, 8, repeats=1)
    assert torch.equal(torch.rand(3), expected)
