"""The synthetic data set: what its photos show, how they are drawn and how people caption them.

Imports nothing of the other rooms.
"""
