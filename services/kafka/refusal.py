"""Why Kafka cannot be reached, in a sentence that names the setting to look at.

aiokafka tries one server after the other and tells only that none would do, so the first that answers is asked again.
"""

import ssl
from collections.abc import Iterator
from typing import Any

from aiokafka import errors
from aiokafka.conn import collect_hosts, create_conn

from services.kafka.client import REQUEST_MS, Kafka

LOGIN = "COEXIST_KAFKA_SASL_USERNAME, COEXIST_KAFKA_SASL_PASSWORD and COEXIST_KAFKA_SASL_MECHANISM"
NOT_OURS = ("metadata_max_age_ms", "retry_backoff_ms", "bootstrap_servers", "request_timeout_ms")
"""Options of a client that mean nothing for one connection."""


async def refusal(kafka: Kafka) -> str:
    """What happens when one connects to Kafka, server by server, until one answers with more than silence."""
    options = {name: value for name, value in kafka.options.items() if name not in NOT_OURS}
    told = "Kafka did not answer"
    for host, port, _ in collect_hosts(kafka.options["bootstrap_servers"]):
        try:
            connection = await create_conn(host, port, request_timeout_ms=REQUEST_MS, **options)
        except (errors.KafkaError, OSError, TimeoutError) as problem:
            told = sentence(f"Kafka at {host}:{port}", problem)
            if not isinstance(problem, OSError | TimeoutError) or isinstance(problem, ssl.SSLError):
                return told
        else:
            connection.close()
    return told


def sentence(server: str, problem: BaseException) -> str:
    """What the problem of a connection means for who set it up."""
    for cause in _causes(problem):
        match cause:
            case ssl.SSLCertVerificationError():
                return f"{server} shows a certificate that is not trusted; see COEXIST_KAFKA_SSL_CAFILE"
            case ssl.SSLError() if "CERTIFICATE" in (cause.reason or ""):
                return f"{server} wants a certificate that it trusts; see COEXIST_KAFKA_SSL_CERTFILE"
            case ssl.SSLError():
                return f"{server} speaks no TLS that we understand; see COEXIST_KAFKA_SECURITY_PROTOCOL"
            case errors.UnsupportedSaslMechanismError() | errors.IllegalSaslStateError():
                return f"{server} does not take this kind of login; see COEXIST_KAFKA_SASL_MECHANISM"
            case errors.SaslAuthenticationFailed():
                return f"{server} refused the login; see {LOGIN}"
            case ConnectionRefusedError():
                return f"{server} is not there: nobody listens; see COEXIST_KAFKA_BOOTSTRAP_SERVERS"
    if isinstance(problem, errors.KafkaConnectionError):
        return f"{server} hangs up at once; see COEXIST_KAFKA_SECURITY_PROTOCOL"
    return f"{server} did not answer: {type(problem).__name__}"


def _causes(problem: BaseException | None) -> Iterator[Any]:
    while problem is not None:
        yield problem
        problem = problem.__cause__ or problem.__context__
