"""Meta's webhooks on their way in: the signature, the facts in a body, and an answer only once they are durable."""
