"""Apache Beam jobs: photos and captions to records, records to features, photos to captions."""
