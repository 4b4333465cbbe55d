"""Triton kernels, one file for each op, imported by the first call on a GPU.

``layout`` is plain PyTorch and shared with the references of the ops.
"""
