"""What is wrong with records and features, and what can be repaired. Imports no TensorFlow."""
