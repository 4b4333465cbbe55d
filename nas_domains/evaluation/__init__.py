"""Evaluation: the training loop, full training, scoring."""
