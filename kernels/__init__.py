"""Kernels: the SDPA showpiece and two small programs to learn from. They use the kernel API and nothing else."""
