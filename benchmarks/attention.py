"""The attention of one stage: our kernels and bias forms against nn.MultiheadAttention with a materialised bias.

    python -m benchmarks.attention [--nodes 500 1000 2000] [--repeats 5]
    python -m benchmarks.attention --device cuda --dtype bfloat16 --nodes 500 1000 2000 4096 8000 --repeats 20

One forward pass without gradient, the bias made of the boxes in every call, as in the head. Each row: median seconds,
how many times faster than the baseline with the same bias, peak memory of the call, greatest difference.
"""

from __future__ import annotations

import argparse

import torch

from benchmarks.workbench import ROOT  # noqa: F401, I001  (pins the kernels, so it comes first)
from c2o_model.evaluation.attention_bench import BIASES, bench_attention

MB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[500, 1000, 2000])
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", nargs="+", default=["float32"], choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--bias", nargs="+", default=list(BIASES), choices=BIASES)
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = bench_attention(
        args.nodes, args.heads, args.dim, args.repeats, args.batch, args.device, args.dtype, args.bias
    )
    base = {(r["dtype"], r["nodes"], r["bias"]): r["time_s"] for r in rows if r["impl"] == "mha"}
    print("| dtype | N | bias | kernel | ms | against nn.MultiheadAttention | peak MB | difference |")
    print("|---|---:|---|---|---:|---:|---:|---:|")
    for row in rows:
        start = f"| {row['dtype']} | {row['nodes']} | {row['bias']} | {row['impl']} {row['backend']} |"
        if row["status"] != "ok" or row["peak_bytes"] is None:
            print(f"{start} {row['status']} | | | |")
            continue
        ratio = base[row["dtype"], row["nodes"], row["bias"]] / row["time_s"]
        numbers = f"{1e3 * row['time_s']:.2f} | {ratio:.2f}x | {row['peak_bytes'] / MB:.1f} | {row['max_abs_diff']:.1e}"
        print(f"{start} {numbers} |")


if __name__ == "__main__":
    main()
