"""What it runs on, and the one place where it is put together."""
