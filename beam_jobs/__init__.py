"""Apache Beam jobs that turn photos and captions into what tfcaption trains on."""
