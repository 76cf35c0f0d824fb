"""Everything that speaks Kafka: the log on it, its topics, its refusals."""
