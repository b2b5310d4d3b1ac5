"""StarGAN v1 (Choi et al. 2018): one generator, steered by labels."""
