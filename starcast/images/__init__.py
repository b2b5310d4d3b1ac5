"""Read, fit and write images, for every room: one tolerant reader with its limits, colour, formats, and a writer."""
