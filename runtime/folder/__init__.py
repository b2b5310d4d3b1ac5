"""Translate images and folders of images, skipping those that are already translated."""
