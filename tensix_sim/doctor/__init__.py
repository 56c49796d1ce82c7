"""What is wrong with a spec, what would be right, and what is legal but not wanted, before any time passes."""
