"""Training: what a run is assembled of, the step, the loop, and its state."""
