"""The optional parts of the package, and how they come in. The name on the public index is another's."""

KAFKA, CLUSTER, S3, OTEL = "kafka", "kafka,postgres", "s3", "otel"


def install(extras: str) -> str:
    """The sentence that says how to install some extras."""
    return f"pip install '.[{extras}]' in Coexist's repository."
