"""Samplers: Optuna samplers that propose whole architectures of a space."""
