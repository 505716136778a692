"""What keras-emo's commands do, and their options."""
