"""`starcast evaluate`: FID, LPIPS and KID of a checkpoint or bundle, by the official StarGAN v2's protocol."""
