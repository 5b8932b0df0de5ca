"""Benchmarks of this machine: each command beside an alternative that a user would write. Imported by nobody else."""
