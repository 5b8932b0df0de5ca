"""The Python interface: `tfcaption.load`, `dataset`, `fit` and `score`, which `import tfcaption` offers.

May import every room but `benchmarks`; only `tfcaption` itself imports it. No module starts TensorFlow when imported.
"""
