"""A graph for ncnn: one layer adds a number to each channel, given as gamma_beta."""

ADDITION = """7767517
4 4
Input image 0 1 image
Input gamma_beta 0 1 gamma_beta 0=3
Reshape column 1 1 gamma_beta column 0=1 1=1 2=3
BinaryOp translation 2 1 image column translation 0=0
"""
