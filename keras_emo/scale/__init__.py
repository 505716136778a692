"""Many clips: answers as Parquet in shards that outlive a stop, and work on Ray."""
