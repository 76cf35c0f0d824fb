"""The Kubernetes files: rendered and validated here, offline, by published schemas, and held against the program."""

import copy
import shutil
import subprocess
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from schemas.topics import PARTITIONS_DEFAULT, TOPICS
from services.app import ROLES
from services.cli import main
from services.cluster import groups_of
from services.kafka.topics import REPLICAS, configuration
from services.settings import Settings
from tests.deploy.custom_resources import SCHEMAS
from tests.deploy.kustomize import MERGED_BY, render

K8S = Path(__file__).resolve().parents[2] / "k8s"
OVERLAYS = {path.parent.name: render(path.parent) for path in sorted(K8S.glob("overlays/*/kustomization.yaml"))}
EVERY = [
    pytest.param(one, id=f"{name}-{one['kind']}-{one['metadata']['name']}")
    for name, found in OVERLAYS.items()
    for one in found
]
CLUSTER = OVERLAYS["cluster"]
VERSION = "1.34"
"""The oldest that is supported upstream."""


def of_kind(kind, resources=CLUSTER):
    return {one["metadata"]["name"]: one for one in resources if one["kind"] == kind}


def pods(resources):
    """The pods that resources make: name → template."""
    kinds = ("Deployment", "StatefulSet", "Job")
    return {one["metadata"]["name"]: one["spec"]["template"] for one in resources if one["kind"] in kinds}


PODS = [
    pytest.param(name, pod, id=f"{overlay}-{name}")
    for overlay, found in OVERLAYS.items()
    for name, pod in pods(found).items()
]


def validate(resource):
    """Raises where a resource is not what its kind is."""
    if resource["kind"] in SCHEMAS:
        jsonschema.validate(resource, SCHEMAS[resource["kind"]])
    else:
        kubernetes_validate.validate(resource, VERSION, strict=True)


@pytest.mark.parametrize("resource", EVERY)
def test_every_resource_is_right_by_its_schema(resource):
    validate(resource)


@pytest.mark.parametrize("kind", ["Deployment", "NetworkPolicy", "KafkaUser", "ScaledObject", "PrometheusRule"])
def test_a_mistyped_field_is_found(kind):
    wrong = copy.deepcopy(next(iter(of_kind(kind).values())))
    wrong["spec"]["podSelektor"] = {}
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        validate(wrong)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubectl_renders_the_same(overlay):
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is missing, so the rendering of these tests is not held against it here")
    done = subprocess.run(
        [kubectl, "kustomize", K8S / "overlays" / overlay], capture_output=True, text=True, check=True
    )

    def in_order(resources):
        return sorted(map(plain, resources), key=lambda one: (one["kind"], one["metadata"]["name"]))

    assert in_order(yaml.safe_load_all(done.stdout)) == in_order(OVERLAYS[overlay])


def plain(value):
    """The same without an order in lists where it means nothing."""
    if isinstance(value, dict):
        return {
            key: sorted(map(plain, inner), key=lambda one: str(one[MERGED_BY[key]]))
            if key in MERGED_BY and inner and MERGED_BY[key] in inner[0]
            else plain(inner)
            for key, inner in value.items()
        }
    return [plain(one) for one in value] if isinstance(value, list) else value


# --- what holds for every pod


@pytest.mark.parametrize(("name", "pod"), PODS)
def test_a_pod_is_restricted_in_all_that_it_needs_not(name, pod):
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    context = container["securityContext"]
    assert context == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    resources = container["resources"]
    assert resources["limits"] == {"memory": resources["requests"]["memory"]}
    assert container["image"].startswith("coexist:")
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    claimed = {"data"} if name == "coexist" else set()
    assert mounted == {volume["name"] for volume in spec["volumes"]} | claimed


@pytest.mark.parametrize(("name", "pod"), PODS)
def test_a_pod_runs_what_the_command_line_has_with_settings_that_exist(name, pod):
    (container,) = pod["spec"]["containers"]
    command, *rest = container["args"]
    assert command in main.commands
    if "--roles" in rest:
        assert set(rest[1].split(",")) <= set(ROLES)
    overlay = "single" if name == "coexist" else "cluster"
    told = dict(of_kind("ConfigMap", OVERLAYS[overlay])["coexist"]["data"]) if "envFrom" in container else {}
    told |= {one["name"]: one["value"] for one in container.get("env", ())}
    known = {f"COEXIST_{field.upper()}" for field in Settings.model_fields}
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    for setting, value in told.items():
        assert setting.removesuffix("_FILE") in known or setting in known, setting
        if value.startswith("/"):
            assert any(value.startswith(mount) for mount in mounts), f"{setting}: nothing is mounted at {value}"
        if any(word in setting for word in ("SECRETS", "TOKEN", "PASSWORD", "DATABASE_URL")):
            assert setting.endswith("_FILE"), f"{setting} belongs into a Secret"


@pytest.mark.parametrize(("name", "pod"), [one for one in PODS if one.values[0] != "coexist-migrate"])
def test_probes_ask_what_needs_no_token_and_liveness_asks_nobody_else(name, pod):
    (container,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "admin"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
    assert ports["admin"] == 8081
    if pod["metadata"]["labels"].get("coexist/webhook"):
        assert ports["webhook"] == 8080
        assert container["lifecycle"]["preStop"]["sleep"]["seconds"] + 10 < pod["spec"]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_are_named_and_never_written_down(overlay):
    assert of_kind("Secret", OVERLAYS[overlay]) == {}


# --- the cluster


def test_every_role_has_a_deployment_that_may_be_drained_and_is_spread():
    deployments = of_kind("Deployment")
    assert set(deployments) == {f"coexist-{role}" for role in ROLES}
    assert set(of_kind("PodDisruptionBudget")) == set(deployments)
    for deployment in deployments.values():
        template = deployment["spec"]["template"]
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert selector.items() <= template["metadata"]["labels"].items()
        assert {one["topologyKey"] for one in template["spec"]["topologySpreadConstraints"]} == {
            *("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        }


def test_what_is_scaled_has_no_number_of_replicas_of_its_own_and_never_none():
    deployments = of_kind("Deployment")
    scaled = {one["spec"]["scaleTargetRef"]["name"]: one["spec"] for one in of_kind("ScaledObject").values()}
    hpa = {one["spec"]["scaleTargetRef"]["name"]: one["spec"] for one in of_kind("HorizontalPodAutoscaler").values()}
    assert (set(scaled), set(hpa)) == ({"coexist-echo-sync", "coexist-sender"}, {"coexist-ingest"})
    for name, deployment in deployments.items():
        assert ("replicas" in deployment["spec"]) == (name not in scaled | hpa)
    for spec in scaled.values():
        assert 2 <= spec["minReplicaCount"] < spec["maxReplicaCount"] <= PARTITIONS_DEFAULT


def test_lag_is_looked_for_under_the_groups_and_topics_that_the_program_uses():
    groups = {group: topics for topics, group in groups_of("coexist").items()}
    for scaled in of_kind("ScaledObject").values():
        for trigger in scaled["spec"]["triggers"]:
            about = trigger["metadata"]
            assert about["topic"].removeprefix("coexist.") in groups[about["consumerGroup"]]


def test_topics_are_those_of_the_program():
    made = of_kind("KafkaTopic")
    assert set(made) == {f"coexist.{name}" for name in TOPICS}
    for name, topic in TOPICS.items():
        spec = made[f"coexist.{name}"]["spec"]
        assert (spec["partitions"], spec["replicas"]) == (PARTITIONS_DEFAULT, REPLICAS)
        assert spec["config"] == configuration(topic, REPLICAS)


def test_every_pod_logs_in_to_kafka_as_itself_and_nobody_may_do_everything():
    users = of_kind("KafkaUser")
    for name, deployment in of_kind("Deployment").items():
        spec = deployment["spec"]["template"]["spec"]
        secret = next(volume["secret"]["secretName"] for volume in spec["volumes"] if volume["name"] == "kafka")
        (container,) = spec["containers"]
        told = {one["name"]: one["value"] for one in container["env"]}
        assert secret == told["COEXIST_KAFKA_SASL_USERNAME"] == name
        assert name in users
    for user in users.values():
        for acl in user["spec"]["authorization"]["acls"]:
            if acl["resource"]["type"] == "cluster":
                continue
            assert acl["resource"]["name"].startswith("coexist.")
            assert not {"All", "Create", "Delete", "Alter", "AlterConfigs"} & set(acl["operations"])
            if acl["resource"]["type"] == "topic" and acl["resource"]["patternType"] == "literal":
                assert acl["resource"]["name"].removeprefix("coexist.") in TOPICS


def allowed(user, operation):
    """The topics on which a user may do something."""
    found = set()
    for acl in of_kind("KafkaUser")[f"coexist-{user}"]["spec"]["authorization"]["acls"]:
        if acl["resource"]["type"] == "topic" and operation in acl["operations"]:
            name = acl["resource"]["name"].removeprefix("coexist.")
            found |= set(TOPICS) if not name else {name}
    return found


def test_each_role_may_write_what_its_code_writes_and_ingest_reads_nothing():
    written = {
        role: {
            topic.name
            for topic in TOPICS.values()
            if role in topic.writer.replace("_", "-") or topic.writer == "any role"
        }
        for role in ("ingest", "echo-sync", "sender", "media")
    }
    written["ingest"].discard("dead-letters")
    for role, topics in written.items():
        assert topics <= allowed(role, "Write"), role
    assert allowed("ingest", "Read") == set()
    assert allowed("relay", "Write") == set()
    for topics, group in groups_of("coexist").items():
        role = {"echo_sync": "echo-sync", "privacy": "echo-sync", "sender": "sender"}[group.split(".")[1]]
        assert set(topics) <= allowed(role, "Read"), group


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_network_is_closed_but_for_what_is_named(overlay):
    policies = of_kind("NetworkPolicy", OVERLAYS[overlay])
    nothing = policies.pop("coexist-nothing")["spec"]
    assert set(nothing["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in nothing
    assert "egress" not in nothing
    for policy in policies.values():
        for rule in (*policy["spec"].get("ingress", ()), *policy["spec"].get("egress", ())):
            assert rule["ports"]
            assert rule.get("from") or rule.get("to")
    blocked = policies["coexist-internet"]["spec"]["egress"][0]["to"][0]["ipBlock"]["except"]
    assert "169.254.0.0/16" in blocked


def test_prometheus_gets_the_rules_that_are_tested_under_the_job_that_they_ask_for():
    rules = of_kind("PrometheusRule")["coexist"]["spec"]["groups"]
    assert rules == yaml.safe_load((K8S.parent / "deploy" / "prometheus" / "rules.yml").read_text())["groups"]
    monitor = of_kind("PodMonitor")["coexist"]["spec"]
    for pod in pods(CLUSTER).values():
        assert pod["metadata"]["labels"][monitor["jobLabel"]] == "coexist"


def test_services_lead_to_pods_and_the_gateway_to_the_webhook_alone():
    for overlay in OVERLAYS.values():
        for service in of_kind("Service", overlay).values():
            selector = service["spec"]["selector"].items()
            assert any(selector <= pod["metadata"]["labels"].items() for pod in pods(overlay).values())
    route = of_kind("HTTPRoute")["coexist-webhook"]["spec"]["rules"]
    assert [match["path"] for rule in route for match in rule["matches"]] == [
        {"type": "Exact", "value": "/webhooks/meta"}
    ]
