"""The attention ops: what each takes, its geometry, buffers, dealing of work, and the program of a device."""
