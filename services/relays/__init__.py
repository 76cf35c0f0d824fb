"""Topics as signed webhooks, for those who speak no Kafka."""
