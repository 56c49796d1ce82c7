"""Simulate Tenstorrent kernels on virtual Tensix chips, tile by tile, with their cycles."""
