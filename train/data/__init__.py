"""Folders of images, read as batches for a training run."""
