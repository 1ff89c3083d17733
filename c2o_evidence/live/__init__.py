"""What a user sees while Snakemake works: one view and one estimate for `snakemake …`, `make …` and `c2o run …`."""
