"""The work behind keras-emo's commands; the options are in keras_emo.cli."""
