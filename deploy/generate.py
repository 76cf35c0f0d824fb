"""Write the files of deploy/ and k8s/ that follow from the program: `make deploy-files`; with `--check`, only compare.

The metrics' page from the catalogue, the dashboards from `dashboards.py`, Kafka topics from `schemas.topics`, and the
Prometheus operator's rules from `prometheus/rules.yml`.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.dashboards import DASHBOARDS, dashboard
from schemas.topics import PARTITIONS_DEFAULT, TOPICS
from services.kafka.topics import REPLICAS, configuration
from services.telemetry.catalogue import GROUPS

HERE = Path(__file__).parent
K8S = HERE.parent / "k8s" / "components"
MADE = "# Made by deploy/generate.py; `make deploy-files` writes it anew.\n"


def files() -> Iterator[tuple[Path, str]]:
    """Every generated file and what must stand in it."""
    yield HERE / "METRICS.md", metrics_page()
    for name in DASHBOARDS:
        yield HERE / "grafana" / f"{name}.json", json.dumps(dashboard(name), indent=1, ensure_ascii=False) + "\n"
    yield K8S / "strimzi" / "topics.yaml", MADE + "---\n".join(kafka_topic(name) for name in TOPICS)
    yield K8S / "prometheus-operator" / "rules.yaml", rules()


def metrics_page() -> str:
    """The catalogue as Markdown."""
    lines = [
        "# Metrics",
        "",
        "What `GET /metrics` on the admin listener tells, made from `services/telemetry/catalogue.py`. The figures",
        "of several processes add up, as each tells of the shards that it holds. No label is a phone, a name, a",
        "text or the id of a message; a business number is one for the first `COEXIST_METRICS_NUMBERS` (200) that a",
        "process meets, and `other` for the rest. TLS ends before Coexist, so the certificate's expiry comes from",
        "the blackbox exporter.",
    ]
    for title, metrics in GROUPS.items():
        lines += ["", f"## {title}", "", "| metric | type | unit | labels | meaning |", "|---|---|---|---|---|"]
        for metric in metrics:
            labels = "; ".join(f"`{name}`: {label.text()}" for name, label in metric.labels.items())
            lines.append(f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.meaning} |")
    return "\n".join(lines) + "\n"


def kafka_topic(name: str) -> str:
    """A topic as Strimzi's operator makes it."""
    settings = "".join(f'    {key}: "{value}"\n' for key, value in configuration(TOPICS[name], REPLICAS).items())
    return (
        "apiVersion: kafka.strimzi.io/v1\n"
        "kind: KafkaTopic\n"
        f"metadata:\n  name: coexist.{name}\n  labels:\n    strimzi.io/cluster: kafka\n"
        f"spec:\n  partitions: {PARTITIONS_DEFAULT}\n  replicas: {REPLICAS}\n  config:\n{settings}"
    )


def rules() -> str:
    """The rules as a resource of the Prometheus operator."""
    text = (HERE / "prometheus" / "rules.yml").read_text()
    groups = text[text.index("groups:") :]
    indented = "".join(f"  {line}\n" for line in groups.splitlines())
    kind = "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: coexist\n"
    return f"{MADE}{kind}spec:\n{indented}"


def main() -> int:
    """Write, or with --check say what is stale; the exit code."""
    stale = [path for path, text in files() if not path.is_file() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            sys.stderr.write(f"{path.relative_to(HERE.parent)} is stale. Run `make deploy-files`.\n")
        return 1 if stale else 0
    for path, text in files():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
