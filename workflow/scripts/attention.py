"""Time the attention kernels that exist on this machine."""

from job import job

with job(snakemake) as running:
    from c2o_evidence.hardware import fingerprint
    from c2o_evidence.tsv import write_tsv
    from c2o_model.determinism import set_deterministic
    from c2o_model.evaluation.attention_bench import bench_attention

    suite = running.suite
    running.as_planned(suite.attention_digest())
    unsteady, spec = set_deterministic(), suite.attention
    rows = bench_attention(list(spec.nodes), spec.heads, spec.dim, spec.repeats)
    machine = {"hardware_id": fingerprint()["id"]}
    write_tsv(snakemake.output.attention, [{**row, **machine} for row in rows], "attention")
    running.record("attention", unsteady)
