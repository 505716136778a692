"""A file, camera or microphone becomes timed RGB frames and mono samples."""
