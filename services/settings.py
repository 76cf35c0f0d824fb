"""Settings: environment variables, or the same names in `.env`; built once, passed on, never read at import.

Every secret may also be given as `…_FILE`, a path to a file that holds it. A mistyped name is an error that names the
right one; a bad value is one plain sentence.
"""

import difflib
import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from schemas.topics import (
    ACCOUNT,
    AUDIT,
    CONTACTS,
    DAY_S,
    DEAD_LETTERS,
    HISTORY,
    INBOUND,
    OUTBOUND,
    OUTBOUND_BULK,
    SENDS,
    TIMELINE,
    TOPICS,
)
from services.commands.arguments import is_address

PREFIX = "COEXIST_"
SECRET_LENGTH_MIN = 32
PORT_MAX = 65_535
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
STATE_DAYS_MIN = 8
"""Meta repeats webhooks for seven days, and the states are what knows a repeat."""


class SettingsError(Exception):
    """The settings cannot be used; the message says which one, what was seen, and what to write."""


def _kept(topic: str) -> Any:
    """The field of a topic's retention."""
    days = (TOPICS[topic].retention_s or 0) / DAY_S
    return Field(days, gt=0, description=f"how long records of {topic} are kept, in days")


def _listed(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _address(url: str) -> str:
    if url and not is_address(url):
        raise ValueError("must be an address like https://host or http://host:port")
    return url


def _brokers(servers: str) -> str:
    for server in servers.split(",") if servers else ():
        if re.fullmatch(r"\s*(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}\s*", server) is None:
            raise ValueError("must be host:port, or several of them, comma-separated")
    return servers


def _sendable(token: SecretStr) -> SecretStr:
    """A token travels in a header, which carries nothing else."""
    if re.fullmatch(r"[!-~]+", token.get_secret_value()) is None:
        raise ValueError("must be ASCII letters, digits and signs, without blanks, and not empty")
    return token


def _version(text: str) -> str:
    if re.fullmatch(r"v[1-9][0-9]?\.[0-9]{1,2}", text) is None:
        raise ValueError("must be a version of the Graph API like v24.0")
    return text


def _hosts(hosts: list[str]) -> list[str]:
    """Lower-case, as addresses are compared."""
    for host in hosts:
        named = re.fullmatch(r"\w[\w.-]*(?::([0-9]{1,5}))?", host)
        if named is None and not _is_ipv6(host):
            raise ValueError(
                "must be hosts like crm.internal or crm.internal:8443, without https:// and without a path"
            )
        if named is not None and named[1] and not 1 <= int(named[1]) <= PORT_MAX:
            raise ValueError(f"must have ports from 1 to {PORT_MAX}, such as crm.internal:8443")
    return [host.lower() for host in hosts]


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _said(word: SecretStr) -> SecretStr:
    if not word.get_secret_value().strip():
        raise ValueError("must not be empty: choose any long text, and write the same one into Meta's webhook settings")
    return word


Address = Annotated[str, AfterValidator(_address)]
Token = Annotated[SecretStr, AfterValidator(_sendable)]


class Settings(BaseModel):
    """The effective settings. Field `pause_minutes` is `COEXIST_PAUSE_MINUTES`, and so on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path = Field(Path("./data"), description="where the embedded edition keeps its file")
    database_url: SecretStr | None = Field(
        None, description="postgresql://… for the cluster; unset: a file in the folder"
    )
    kafka_bootstrap_servers: Annotated[str, AfterValidator(_brokers)] = Field(
        "", description="host:port, comma-separated; unset: the embedded log"
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how to speak to Kafka"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="how to log in to Kafka, with a SASL_ protocol"
    )
    kafka_sasl_username: str = Field("", description="who logs in to Kafka")
    kafka_sasl_password: SecretStr | None = Field(None, description="and with which password")
    kafka_ssl_cafile: str = Field("", description="PEM file of the authority that signed Kafka's certificate")
    kafka_ssl_certfile: str = Field("", description="PEM file of our certificate, where Kafka asks for one")
    kafka_ssl_keyfile: str = Field("", description="PEM file of its key, where it is not in the same file")
    kafka_ssl_password: SecretStr | None = Field(None, description="the key's password")
    topic_prefix: str = Field("coexist", description="written before every topic's name on Kafka")
    partitions: int = Field(12, ge=1, le=1000, description="shards; fixed for the life of an installation")
    host: str = Field("0.0.0.0", description="address of the public listener")  # noqa: S104 - webhooks come from outside
    port: int = Field(8080, ge=0, le=65535, description="port of the public listener; 0 means any free one")
    trusted_proxies: int = Field(
        0, ge=0, le=8, description="proxies in front that add to X-Forwarded-For; refused requests count by client"
    )
    admin_host: str = Field("127.0.0.1", description="address of the admin listener")
    admin_port: int = Field(8081, ge=0, le=65535, description="port of the admin listener; 0 means any free one")
    admin_token: Token | None = Field(None, description="bearer token of the admin listener; needed beyond loopback")
    send_token: Token | None = Field(None, description="a further token that may read, send and take over")
    read_token: Token | None = Field(None, description="a further token that may only read")
    metrics_token: Token | None = Field(None, description="a further token that may only read /metrics")
    admin_url: Address = Field("", description="where commands find the admin listener, instead of DATA_DIR/admin.json")
    meta_app_secrets: Annotated[list[SecretStr], BeforeValidator(_listed)] = Field(
        [], description="app secrets, comma-separated; all are valid, so that they can be rotated"
    )
    meta_verify_token: Annotated[SecretStr, AfterValidator(_said)] | None = Field(
        None, description="the verify token of Meta's handshake"
    )
    meta_access_token: Token | None = Field(None, description="the access token of numbers without their own")
    encryption_keys: Annotated[list[SecretStr], BeforeValidator(_listed)] = Field(
        [], description="keys for secrets at rest, 32 bytes in base64, comma-separated; the first seals, all unseal"
    )
    encryption_key_lost: bool = Field(
        False, description="1: start although no key opens some token or relay's secret, so that it is given anew"
    )
    encrypt_content: bool = Field(
        False, description="1: what people write is sealed under the encryption keys in log, store and media store"
    )
    meta_app_id: str = Field("", description="the Meta app's id")
    meta_graph_url: Address = Field("https://graph.facebook.com", description="the Graph API's address")
    meta_graph_version: Annotated[str, AfterValidator(_version)] = Field("v26.0", description="the Graph API's version")
    registration: Literal["auto", "listed"] = Field(
        "auto", description="who may be a number: any that is signed, or added"
    )
    log_format: Literal["console", "json"] = Field("console", description="how log lines look")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least level that is logged"
    )
    metrics_numbers: int = Field(
        200, ge=0, le=10_000, description="business numbers with metrics of their own; all further ones share `other`"
    )
    pause_minutes: float = Field(30, ge=0, le=10_080, description="how long automation rests after a person answered")
    automatic_within_s: float = Field(
        5, ge=0, le=60, description="an app text this soon after a customer may be automatic; 0: none ever is"
    )
    automatic_quiet_days: float = Field(14, ge=1, le=365, description="after this silence it is a greeting")
    automatic_conversations: int = Field(3, ge=2, le=8, description="said to so many customers it is an away text")
    media_url: str = Field(
        "", description="where media is kept: a folder, or s3://bucket/prefix; DATA_DIR/media if unset"
    )
    contacts: Literal["all", "customers", "none"] = Field(
        "all", description="whose entries of the address book are kept: all, only people who wrote, none"
    )
    relay_hosts: Annotated[list[str], BeforeValidator(_listed), AfterValidator(_hosts)] = Field(
        [],
        description="hosts of your own network, name or name:port, that a relay may reach and by http, comma-separated",
    )
    opt_out_words: Annotated[list[str], BeforeValidator(_listed)] = Field(
        [], description="what a customer may write to get no more marketing, comma-separated, such as STOP,BAJA"
    )
    opt_in_words: Annotated[list[str], BeforeValidator(_listed)] = Field(
        [], description="what a customer may write to get marketing, comma-separated, such as ALTA"
    )
    opt_in_required: bool = Field(False, description="1: marketing goes only to people who are known to want it")
    erasure_ledger: Path | None = Field(
        None, description="where erasures are noted beside the store, for a restored backup; DATA_DIR/erasures.jsonl"
    )
    retention_inbound_days: float = _kept(INBOUND)
    retention_history_days: float = _kept(HISTORY)
    retention_timeline_days: float = _kept(TIMELINE)
    retention_contacts_days: float = _kept(CONTACTS)
    retention_account_days: float = _kept(ACCOUNT)
    retention_outbound_days: float = _kept(OUTBOUND)
    retention_outbound_bulk_days: float = _kept(OUTBOUND_BULK)
    retention_sends_days: float = _kept(SENDS)
    retention_dead_letters_days: float = _kept(DEAD_LETTERS)
    retention_audit_days: float = _kept(AUDIT)
    retention_messages_days: float = Field(
        365, ge=STATE_DAYS_MIN, description="how long messages and their media are kept as states, in days"
    )
    retention_commands_days: float = Field(
        30, ge=STATE_DAYS_MIN, description="how long a command that is over is known by its id, in days"
    )
    timeline_raw: bool = Field(False, description="1: message.added carries the raw webhook item")


def load(environment: Mapping[str, str] | None = None, dotenv: Path = Path(".env"), **overrides: object) -> Settings:
    """The settings of this process. Raises SettingsError with one sentence that says what to write instead."""
    given = {**_read_dotenv(dotenv), **(os.environ if environment is None else environment)}
    values: dict[str, object] = {}
    for name, value in given.items():
        if name.startswith(PREFIX) and not name.startswith(("COEXIST_TEST_", "COEXIST_REQUIRE_")):
            field, content = _field(name, value)
            if field in values:
                raise SettingsError(f"{PREFIX}{field.upper()} and {PREFIX}{field.upper()}_FILE are both set. Keep one.")
            values[field] = content
    try:
        return Settings.model_validate({**values, **overrides})
    except ValidationError as problem:
        raise SettingsError(_sentence(problem)) from None


def masked(settings: Settings) -> dict[str, str]:
    """The effective settings as text, secrets masked."""
    shown = {}
    for field in Settings.model_fields:
        value = getattr(settings, field)
        if isinstance(value, list):
            hidden = any(isinstance(part, SecretStr) for part in value)
            value = f"{len(value)} secrets, ********" if hidden else ",".join(value)
        elif isinstance(value, SecretStr):
            value = "********"
        shown[PREFIX + field.upper()] = "not set" if value in (None, "") else str(value)
    return shown


def secrets(settings: Settings) -> list[bytes]:
    """The app secrets as bytes. Raises SettingsError when there is none: then no webhook could be trusted."""
    if not settings.meta_app_secrets:
        raise SettingsError(
            "COEXIST_META_APP_SECRETS is not set, so no webhook could be trusted. "
            "Meta app dashboard → App settings → Basic → App secret. Or try `coexist demo`, which needs nothing."
        )
    return [secret.get_secret_value().encode() for secret in settings.meta_app_secrets]


def guarded(settings: Settings) -> None:
    """Raises SettingsError where anybody could reach the admin listener and no token keeps it."""
    if settings.admin_token is None and settings.admin_host not in LOOPBACK_NAMES:
        raise SettingsError(
            "COEXIST_ADMIN_HOST is not loopback, so COEXIST_ADMIN_TOKEN must be set: `openssl rand -hex 32` makes one."
        )


def short_secrets(settings: Settings) -> str:
    """One sentence where an app secret is shorter than Meta's, else nothing: it may be cut, and it may be a test's."""
    short = sum(len(secret.get_secret_value()) < SECRET_LENGTH_MIN for secret in settings.meta_app_secrets)
    if not short:
        return ""
    return (
        f"{short} of COEXIST_META_APP_SECRETS has fewer than the {SECRET_LENGTH_MIN} characters of Meta's; is it whole?"
    )


def _field(name: str, value: str) -> tuple[str, str]:
    field = name.removeprefix(PREFIX).lower()
    if field in Settings.model_fields:
        return field, value
    plain = field.removesuffix("_file")
    if plain != field and plain in Settings.model_fields:
        try:
            return plain, Path(value).read_text().strip()
        except OSError as problem:
            raise SettingsError(f"{name} names a file that cannot be read: {problem.strerror}.") from None
        except UnicodeDecodeError:
            raise SettingsError(f"{name} names a file that is not text in UTF-8.") from None
    known = [PREFIX + known.upper() for known in Settings.model_fields]
    near = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean {near[0]}?" if near else " `coexist config` lists them all."
    raise SettingsError(f"{name} is not a setting.{hint}")


def _sentence(problem: ValidationError) -> str:
    error = problem.errors()[0]
    name = PREFIX + str(error["loc"][0]).upper()
    wanted = {
        "int_parsing": "must be a whole number",
        "float_parsing": "must be a number",
        "bool_parsing": "must be 0 or 1",
        "value_error": str(error.get("ctx", {}).get("error")),
    }.get(error["type"], "cannot be used: " + error["msg"][:1].lower() + error["msg"][1:])
    is_secret = "SecretStr" in str(Settings.model_fields[str(error["loc"][0])].annotation)
    shown = "" if is_secret else f', got "{error["input"]}"'
    return f"{name} {wanted}{shown}."


def _read_dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    found = {}
    try:
        lines = path.read_text().splitlines()
    except OSError as problem:
        raise SettingsError(f"{path} cannot be read: {problem.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not text in UTF-8.") from None
    for number, line in enumerate(lines, 1):
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if not name or name.startswith("#"):
            continue
        if not equals:
            raise SettingsError(f"Line {number} of {path} is no setting. Write NAME=value, or begin it with #.")
        found[name.strip()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    """A value without its quotes and without a comment behind it."""
    if value[:1] in ("'", '"') and value.find(value[0], 1) > 0:
        return value[1 : value.find(value[0], 1)]
    return value.partition(" #")[0].rstrip()
