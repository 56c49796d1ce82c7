"""Kernels: SDPA, products, collectives, moves of tiles, and small programs to learn from. They use the kernel API and nothing else."""
