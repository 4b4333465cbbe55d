"""Elastic layers: their weights hold the weights of all their smaller versions."""
