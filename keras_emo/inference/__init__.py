"""Network inputs become predictions, with onnxruntime."""
