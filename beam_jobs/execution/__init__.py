"""Running a job on any Beam runner: options, progress, its output folder and shards."""
