"""The Beam pipelines: the steps of each job. `run` runs a job to its end, `add_steps` builds its pipeline."""
