"""Modules that spaces are made of: candidates, cells, networks, supernets."""
