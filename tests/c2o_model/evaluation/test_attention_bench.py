"""The rows of the attention benchmark: all cases present, honest where a kernel is absent, memory right."""

import json
import math
from pathlib import Path

import pytest
import torch

from c2o_model.evaluation.attention_bench import AttentionRow, bench_attention

NODES, HEADS, DIM = [100], 4, 32


@pytest.fixture(scope="module")
def rows() -> list[AttentionRow]:
    return bench_attention(NODES, HEADS, DIM, repeats=3)


KERNELS = {
    ("mha", "-"),
    ("torch", "-"),
    ("sdpa", "flash"),
    ("sdpa", "mem_efficient"),
    ("sdpa", "math"),
    ("flex", "compiled"),
}
ABSENT = ("mem_efficient", "compiled")


def test_every_case_has_one_row(rows: list[AttentionRow]) -> None:
    found = [(r["impl"], r["backend"], r["bias"], r["nodes"]) for r in rows]
    assert len(found) == len(set(found))
    biases = ("none", "distance", "lowrank", "iou", "knn")
    assert set(found) == {(*k, bias, n) for k in KERNELS for bias in biases for n in NODES}


def test_columns_are_those_of_the_schema(rows: list[AttentionRow]) -> None:
    schema = json.loads((Path(__file__).parents[3] / "workflow/schemas/attention.schema.json").read_text())
    columns = set(schema["required"]) - {"hardware_id"}  # the workflow adds the machine
    for row in rows:
        assert columns <= set(row)
        assert row["impl"] in schema["properties"]["impl"]["enum"]
        assert row["bias"] in schema["properties"]["bias"]["enum"]


def test_rows_that_ran_agree_with_torch(rows: list[AttentionRow]) -> None:
    for row in rows:
        if row["backend"] in ABSENT:
            continue
        assert row["status"] == "ok" and row["max_abs_diff"] < 1e-5
        assert 0 < row["time_s_min"] <= row["time_s"] and row["time_s_iqr"] >= 0
        assert (row["heads"], row["dim"], row["batch"], row["repeats"]) == (HEADS, DIM, 1, 3)
        assert (row["dtype"], row["device"], row["threads"]) == ("float32", "cpu", torch.get_num_threads())


def test_an_absent_kernel_says_why(rows: list[AttentionRow]) -> None:
    absent = [r for r in rows if r["backend"] in ABSENT]
    assert len(absent) == 2 * 5
    for row in absent:
        why = (
            "flex is compiled on CUDA only" if row["impl"] == "flex" else "'mem_efficient' cannot serve float32 on cpu"
        )
        assert why in row["status"]
        assert math.isnan(row["time_s"]) and math.isnan(row["max_abs_diff"]) and row["peak_bytes"] is None


def test_peak_memory_is_what_the_arithmetic_needs(rows: list[AttentionRow]) -> None:
    """`torch` holds two [H, N, N] matrices at its peak and a third for a bias; flash, which needs none, stays below
    one, and with a bias below three: itself and what it is made of.
    """
    peak = {(r["backend"], r["impl"], r["bias"], r["nodes"]): r["peak_bytes"] for r in rows}
    matrix = 4 * HEADS * 100 * 100
    projected = 4 * 100 * DIM * 3
    for bias, matrices in (("none", 2), ("distance", 3), ("iou", 3)):
        plain, flash = peak["-", "torch", bias, 100], peak["flash", "sdpa", bias, 100]
        assert plain is not None and flash is not None
        assert matrices * matrix <= plain <= matrices * matrix + matrix / 4 + 2 * projected
        assert flash < (matrices - 2) * matrix * 2 + matrix + projected


def test_memory_of_the_low_rank_form_is_linear_in_the_nodes() -> None:
    """Twice the nodes need twice the memory; a matrix needs four times as much."""
    rows = bench_attention([256, 512], HEADS, DIM, repeats=1, biases=["distance", "lowrank"])
    flash = {(r["bias"], r["nodes"]): r["peak_bytes"] for r in rows if r["backend"] == "flash"}
    growth = {bias: (flash[bias, 512] or 0) / (flash[bias, 256] or 1) for bias in ("distance", "lowrank")}
    assert growth["lowrank"] == pytest.approx(2, abs=0.1) and growth["distance"] > 3


def test_other_dtypes_and_biases_on_request() -> None:
    rows = bench_attention([12, 5], 2, 8, repeats=1, dtypes=["bfloat16", "float32"], biases=["lowrank"])
    assert len(rows) == 24 and {r["bias"] for r in rows} == {"lowrank"}
    for dtype, limit in (("bfloat16", 0.02), ("float32", 1e-5)):
        ran = [r for r in rows if r["dtype"] == dtype and r["status"] == "ok"]
        assert {(r["impl"], r["backend"]) for r in ran} >= {("mha", "-"), ("torch", "-"), ("sdpa", "math")}
        assert all(r["max_abs_diff"] < limit for r in ran)


def test_the_callers_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    bench_attention([4], 2, 8, repeats=1, biases=["none"])
    assert torch.equal(torch.rand(3), expected)
