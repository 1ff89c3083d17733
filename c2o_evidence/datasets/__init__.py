"""The public data sets: what each is, whether a copy is whole (`c2o data check`), and what it takes (`c2o data plan`).

`known` is the one table of facts. The package `c2o_model` reads the sets; where they lie is said there too, and a test
holds the two against each other.
"""
