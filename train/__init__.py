"""Networks, data, losses and the training run."""
