"""Deciding when, how long and on what to train; metrics on validation and test speakers."""
