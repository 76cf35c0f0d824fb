"""The way from the embedded edition to a cluster."""
