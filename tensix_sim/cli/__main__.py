"""`python -m tensix_sim.cli`."""

from tensix_sim.cli import main

main()
