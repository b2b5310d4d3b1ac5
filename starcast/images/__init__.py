"""Images in and out, for every room: one tolerant reader with its limits, colour, formats, fit, and a writer."""
