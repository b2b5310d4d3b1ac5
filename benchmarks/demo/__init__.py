"""`starcast demo`: the whole chain on a drawn data set, and one page that shows the results."""
