"""Many clips: predictions as Parquet in a folder that a restart completes, and work on Ray."""
