"""From a bundle and pixels to pixels; imports neither torch nor onnx."""
