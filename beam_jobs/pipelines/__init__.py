"""The Beam pipelines: what each job computes."""
