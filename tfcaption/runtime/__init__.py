"""What any program needs of its machine: paths, locks, progress, the process, command lines. Imports nothing of ours."""
