"""Model families: a folder each, with all that is the family's own."""
