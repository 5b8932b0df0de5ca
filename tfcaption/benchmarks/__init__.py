"""Measurements of this machine: tfcaption beside what a user would write instead.

Imports all other rooms; nothing imports it.
"""
