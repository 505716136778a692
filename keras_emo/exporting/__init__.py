"""From trained Keras models to the files the runtime loads."""
