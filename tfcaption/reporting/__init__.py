"""Runs side by side on one HTML page. Imports no TensorFlow."""
