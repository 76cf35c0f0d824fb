"""The embedded edition: one file, its one writer, the log and the store on it."""
