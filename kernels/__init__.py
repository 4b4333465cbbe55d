"""Triton kernels, one file for each op; imported by the first call on a GPU."""
