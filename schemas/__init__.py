"""What things are: events, Meta's wire shapes, topics and ports. It imports nothing of the rest."""
