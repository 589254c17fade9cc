"""Exports a torch checkpoint as a bundle of ONNX files, on one machine. Needs the extra `export`."""

from sentiment_ray.errors import require_extra

require_extra("export", "torch", "transformers", "optimum", "onnx", "onnxruntime")
