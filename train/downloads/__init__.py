"""Official data sets and weights, fetched only when asked."""
