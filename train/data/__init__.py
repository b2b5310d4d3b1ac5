"""Folders of images, as the batches of a training run."""
