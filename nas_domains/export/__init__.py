"""Getting a network out of a run: load, predict, ONNX and torch.export."""
