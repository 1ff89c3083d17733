"""Driving a build on a SLURM cluster: what `c2o run SUITE --on slurm` adds to Snakemake and its executor plugin."""
