"""Measurements of this machine: our way beside what a user would write instead."""
