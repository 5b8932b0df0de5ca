"""The data contract: what stands in shards and beside them, read and written without TensorFlow."""
