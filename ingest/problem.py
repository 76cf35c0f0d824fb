"""Refusals as everybody reads them: one short, static RFC 9457 body per status, with what to do about it."""

import json

PROBLEM_JSON = b"application/problem+json"


def problem(status: int, title: str, fix: str) -> bytes:
    """The body of a refusal. It holds nothing of the request, so nothing of the request can be reflected."""
    return json.dumps({"type": "about:blank", "status": status, "title": title, "fix": fix}).encode()


PROBLEMS = {
    400: problem(400, "This is not HTTP as we read it", "Send one well-formed HTTP/1.1 request at a time."),
    401: problem(
        401,
        "The signature is missing or wrong",
        "Sign the raw body in X-Hub-Signature-256 with an app secret that COEXIST_META_APP_SECRETS names.",
    ),
    403: problem(
        403,
        "The verification was not understood",
        "Give Meta's dashboard the same verify token as COEXIST_META_VERIFY_TOKEN.",
    ),
    404: problem(404, "There is nothing here", "Webhooks go to /webhooks/meta."),
    405: problem(405, "This method has no meaning here", "Use POST for webhooks and GET for the handshake."),
    408: problem(408, "The body did not come in time", "Send the whole body within 5 seconds."),
    413: problem(413, "The body is over 4 MiB", "Send less per webhook; Meta sends 3 MB at most."),
    415: problem(415, "This is not plain JSON", "Send Content-Type: application/json without Content-Encoding."),
    429: problem(
        429,
        "Too many requests from this address were refused",
        "Wait as long as Retry-After says. Signed webhooks are taken all the while.",
    ),
    431: problem(431, "The request head is over 64 KiB", "Send fewer or shorter headers."),
    503: problem(503, "The webhook could not be made durable", "Send it again in a second."),
}
"""Every refusal of the public listener."""
