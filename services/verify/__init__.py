"""Whether what is stored follows from what is retained."""
