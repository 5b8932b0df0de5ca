"""What any program needs of its machine: errors, paths, locks, progress, the process, the command line.

Imports no other room, and TensorFlow only inside functions.
"""
