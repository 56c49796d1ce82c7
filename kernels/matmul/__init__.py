"""A matrix product on a grid of cores: blocks of A and B, read once and multicast; C = A B, a block of it in L1 at a time."""
