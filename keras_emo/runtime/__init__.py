"""Inference without TensorFlow: numpy, OpenCV and onnxruntime."""
