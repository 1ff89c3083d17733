"""Generate the embedded data set, or take a COCO, VOC or public set into the evidence chain, with a manifest."""

from job import job

with job(snakemake) as running:
    from pathlib import Path

    from c2o_evidence.yaml_file import load_yaml
    from c2o_model.data.coco_copy import import_coco
    from c2o_model.data.digits import generate
    from c2o_model.data.named_copy import import_named
    from c2o_model.data.voc_copy import import_voc

    name = snakemake.params.config
    out = Path(snakemake.output.manifest).parent
    config = load_yaml(running.root / name, name)
    taken = {"coco": import_coco, "voc": import_voc, "named": import_named}.get(config["kind"])
    manifest = taken(config, out, running.root) if taken else generate(config, out)
    running.say(f"sha256 {manifest.sha256}")
