"""What becomes of a person's data when they, or the law, ask for it."""
