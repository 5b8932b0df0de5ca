"""Running a job on any Beam runner: options, progress, files, the output folder, the final check."""
