"""Exported networks: the onnxruntime session, what an .onnx file holds, models by name, and pictures as inputs."""
