"""`python -m detkit`."""

from detkit.cli import main

main()
