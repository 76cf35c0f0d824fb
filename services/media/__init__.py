"""Media fetched from Meta, and where they are kept."""
