"""Kafka behind TLS with certificates on both sides and a login: the settings that open it, and what they say if not."""

import datetime as dt
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from schemas.ports import Event
from schemas.topics import INBOUND, partition_of
from services.kafka.client import kafka_of
from services.kafka.log import KafkaLog
from services.settings import Settings
from tests.cluster.rig import drained
from tests.kafka.broker import drop_database, jars, new_database
from tests.kafka.cluster import KafkaCluster, Security
from tests.processes import Service, coexist, settings_for

pytestmark = [pytest.mark.kafka, pytest.mark.faults]

USER, PASSWORD, KEY_PASSWORD = "coexist", "open-sesame-1001", "for-the-key-alone"
NUMBER = "106540352242922"
PARTITIONS = 2
BROKER = """\
listener.name.clients.ssl.keystore.type=PEM
listener.name.clients.ssl.keystore.location={folder}/broker.pem
listener.name.clients.ssl.truststore.type=PEM
listener.name.clients.ssl.truststore.location={folder}/authority.pem
listener.name.clients.ssl.client.auth=required
listener.name.clients.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.clients.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{user}="{password}";
listener.name.clients.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.clients.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"""


class Authority:
    """Signs certificates, and leaves them in a folder."""

    def __init__(self, folder, name):
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        own = self._certificate(self._name, self._key.public_key(), is_authority=True)
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def sign(self, name, password=b""):
        """Paths of a certificate and its key; the key stands in the certificate's file, too, if it has no password."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._certificate(subject, key.public_key(), is_authority=False)
        locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        key_pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        paths = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        paths[0].write_bytes(pem if password else key_pem + pem)
        paths[1].write_bytes(key_pem)
        return paths

    def _certificate(self, subject, public_key, *, is_authority):
        now = dt.datetime.now(dt.UTC)
        here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(here if not is_authority else uses, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """The settings under which a broker with TLS, client certificates and logins can be used."""
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder, "authority")
    authority.sign("broker")
    certificate, key = authority.sign("client", KEY_PASSWORD.encode())
    login = f"[name={USER},password={PASSWORD}]"
    security = Security(
        "SASL_SSL",
        BROKER.format(folder=folder, user=USER, password=PASSWORD),
        ("--add-scram", f"SCRAM-SHA-256={login}", "--add-scram", f"SCRAM-SHA-512={login}"),
    )
    cluster = KafkaCluster(jars(), folder, security=security)
    try:
        cluster.start()
        yield {
            "kafka_bootstrap_servers": cluster.bootstrap,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_username": USER,
            "kafka_sasl_password": PASSWORD,
            "kafka_ssl_cafile": str(authority.path),
            "kafka_ssl_certfile": str(certificate),
            "kafka_ssl_keyfile": str(key),
            "kafka_ssl_password": KEY_PASSWORD,
            "partitions": PARTITIONS,
        }
    finally:
        cluster.stop()


@pytest.fixture
def database():
    url = new_database()
    yield url
    drop_database(url)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_topics_are_made_and_checked_and_events_go_in_and_come_out(mechanism, secured, database, tmp_path):
    settings = secured | {"kafka_sasl_mechanism": mechanism, "topic_prefix": mechanism.lower()}
    made = coexist("topics", "create", cwd=tmp_path, **settings)
    assert made.returncode == 0, made.stderr
    checked = coexist(
        "run", "--check", cwd=tmp_path, **settings_for(tmp_path / "data", **settings), database_url=database
    )
    assert checked.returncode == 0, checked.stderr
    log = KafkaLog(kafka_of(Settings.model_validate(settings)), PARTITIONS)
    try:
        await log.append([(INBOUND, Event("a", "webhook.message", NUMBER, b"{}", 1.0, 1.0))])
        reader = await log.reader((INBOUND,), partition_of(NUMBER, PARTITIONS), {})
        assert [record.event.id for record in await drained(reader, 1)] == ["a"]
    finally:
        await log.close()


def test_the_service_runs_on_it(secured, database, tmp_path):
    settings = secured | {"kafka_sasl_mechanism": "SCRAM-SHA-512", "topic_prefix": "service", "database_url": database}
    assert coexist("topics", "create", cwd=tmp_path, **settings).returncode == 0
    with Service(settings_for(tmp_path / "data", **settings), tmp_path) as service:
        assert service.ready().stop()[0] == 0


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"kafka_sasl_password": "wrong"}, "COEXIST_KAFKA_SASL_"),
        ({"kafka_ssl_cafile": ""}, "COEXIST_KAFKA_SSL_CAFILE"),
        ({"kafka_ssl_cafile": "/nowhere.pem"}, "COEXIST_KAFKA_SSL_"),
        ({"kafka_ssl_certfile": "", "kafka_ssl_keyfile": ""}, "COEXIST_KAFKA_SSL_CERTFILE"),
        ({"kafka_ssl_password": "wrong"}, "COEXIST_KAFKA_SSL_PASSWORD"),
        ({"kafka_security_protocol": "PLAINTEXT"}, "COEXIST_KAFKA_SECURITY_PROTOCOL"),
        ({"kafka_bootstrap_servers": "127.0.0.1:9"}, "COEXIST_KAFKA_BOOTSTRAP_SERVERS"),
    ],
    ids=["password", "no authority", "no such file", "no certificate", "key password", "plain", "nobody"],
)
def test_a_door_that_stays_shut_is_told_in_a_sentence_that_names_the_setting(wrong, named, secured, tmp_path):
    done = coexist("topics", "create", cwd=tmp_path, **secured | wrong)
    assert done.returncode in (2, 3), done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert PASSWORD not in done.stderr
