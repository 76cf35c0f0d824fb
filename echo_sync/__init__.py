"""What a webhook item means for the timeline, and what the timeline means for a conversation. All of it is pure."""
