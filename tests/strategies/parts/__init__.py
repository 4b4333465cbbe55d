"""Tests of the parts of gradient strategies."""
