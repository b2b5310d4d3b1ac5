"""Starcast: train, export and run StarGAN v2. The rooms are starcast.train, .export, .runtime and .benchmarks."""

__version__ = "0.1.0"
