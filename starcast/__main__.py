"""`python -m starcast` is the same as `starcast`."""

from starcast.cli import main

main()
