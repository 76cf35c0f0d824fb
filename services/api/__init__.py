"""The admin listener: what people and programs ask of a running service."""
