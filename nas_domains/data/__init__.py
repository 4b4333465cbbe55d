"""Readers that several domains share: arrays, folders, tables, their splits and augmentation."""
