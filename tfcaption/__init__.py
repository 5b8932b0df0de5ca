"""tfcaption: high-throughput tf.data + TFRecord training of image captioners."""

__version__ = "0.1.0"
