"""Many films in a row: folders, lists and files of jobs."""
