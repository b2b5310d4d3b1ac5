"""`starcast bench`: a bundle on every engine of a device, paired with eager PyTorch round by round."""
