"""Training a student from a teacher's outputs.

In: the data set, the checkpoint to start from, the teacher's checkpoint. Out: as in train.smk.
"""


use rule train as distill with:
    input:
        data=data_of,
        init=init_of,
        teacher=teacher_of,
    wildcard_constraints:
        suite=suites_where(taught=True),
    message:
        "distill {wildcards.experiment}, seed {wildcards.seed}"
