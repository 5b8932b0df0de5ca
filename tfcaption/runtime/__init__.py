"""What any program needs of its machine: paths, locks, progress, the process. Imports nothing of ours."""
