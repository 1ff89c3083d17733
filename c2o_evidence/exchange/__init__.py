"""Results in the formats of other tools: CSV, Parquet, JSON, COCO results, LaTeX, a model card.

`place` finds and checks what is exported, `table_files`, `coco_results` and `texts` make files of it, `command` writes
them and is what `c2o export` does.
"""
