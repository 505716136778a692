"""From trained Keras models to the files the runtime loads."""

OPSET = 18
IR_VERSION = 10
