"""A second family, as small as one can be: two layers, steered by labels. It shows what a family has to bring along.

Its loss is made up: a translation should keep the source's shapes and take the mean colour of the target's images.
"""
