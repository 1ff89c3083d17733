"""Pictures of the validation set, the denoising of one of them step by step, the attention among its nodes.

In: the data set, the checkpoints of the gallery's rows, of the first train seed. Out: gallery.json, the
pictures as PNG, the record. Only a suite that asks for a gallery has one, and pictures in its bundle.
"""


rule gallery:
    input:
        data=data_of,
        models=shown_checkpoints,
    output:
        gallery="results/{suite}/gallery/gallery.json",
        images=directory("results/{suite}/gallery/images"),
        record="results/{suite}/gallery/record.json",
    log:
        "logs/{suite}/gallery.log",
    priority: 5
    conda:
        ENVIRONMENT
    resources:
        gpu=GPUS,
        mem_mb=2000,
        runtime=30,
    params:
        digest=lambda wildcards: suite(wildcards.suite).gallery_digest(),
    message:
        "make the gallery"
    script:
        "../scripts/gallery.py"
