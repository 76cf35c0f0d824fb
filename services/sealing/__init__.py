"""What is at rest under the keys of COEXIST_ENCRYPTION_KEYS."""
