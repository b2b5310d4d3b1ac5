"""StarGAN v2: its networks, losses, training step, sample grids and official checkpoints."""
