"""Images and folders of images: found, translated, written, and not made again when they are there."""
