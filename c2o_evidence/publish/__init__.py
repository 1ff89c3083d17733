"""What is written about a bundle for others: the checklists of venues, and a model card.

Both say only what follows from the bundle, with the file that proves it.
`source` reads it, `command` is what `c2o checklist` and `c2o model-card` do.
"""
