"""`python -m tensix_sim`."""

from tensix_sim.cli import main

main()
