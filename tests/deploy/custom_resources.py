"""What we use of other operators' resources, as strict JSON Schemas: a mistyped field is found, as it is in our own.

Written after the published definitions of Strimzi 1.0 (kafka.strimzi.io/v1), KEDA 2 (keda.sh/v1alpha1), the Prometheus
operator (monitoring.coreos.com/v1) and the Gateway API (gateway.networking.k8s.io/v1).
"""

TEXT = {"type": "string", "minLength": 1}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
NUMBER = {"type": "integer", "minimum": 0}


def strict(required, optional=None):
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": False,
    }


def many(item):
    """A list that is not empty."""
    return {"type": "array", "items": item, "minItems": 1}


def one_of(*values):
    """One of some words."""
    return {"enum": list(values)}


def resource(api, kind, spec):
    """A whole resource."""
    meta = strict({"name": TEXT}, {"namespace": TEXT, "labels": TEXTS, "annotations": TEXTS})
    return strict({"apiVersion": {"const": api}, "kind": {"const": kind}, "metadata": meta, "spec": spec})


OPERATIONS = one_of("Read", "Write", "Describe", "DescribeConfigs", "Create", "Delete", "Alter", "AlterConfigs")
HELD = strict({"type": one_of("topic", "group"), "name": TEXT, "patternType": one_of("literal", "prefix")})
ACL = {
    "oneOf": [
        strict({"resource": HELD, "operations": many(OPERATIONS)}),
        strict({"resource": strict({"type": {"const": "cluster"}}), "operations": {"const": ["IdempotentWrite"]}}),
    ]
}
KEY = strict({"name": TEXT, "key": TEXT})
RULE = strict({"expr": TEXT}, {"record": TEXT, "alert": TEXT, "for": TEXT, "labels": TEXTS, "annotations": TEXTS})
SELECTOR = strict(
    {"matchLabels": TEXTS},
    {
        "matchExpressions": many(
            strict({"key": TEXT, "operator": one_of("In", "NotIn", "Exists")}, {"values": many(TEXT)})
        )
    },
)
MATCH = strict({"path": strict({"type": one_of("Exact", "PathPrefix"), "value": TEXT})})

SCHEMAS = {
    "KafkaTopic": resource(
        "kafka.strimzi.io/v1",
        "KafkaTopic",
        strict({"partitions": NUMBER, "replicas": NUMBER, "config": TEXTS}, {"topicName": TEXT}),
    ),
    "KafkaUser": resource(
        "kafka.strimzi.io/v1",
        "KafkaUser",
        strict(
            {
                "authentication": strict({"type": {"const": "scram-sha-512"}}),
                "authorization": strict({"type": {"const": "simple"}, "acls": many(ACL)}),
            }
        ),
    ),
    "ScaledObject": resource(
        "keda.sh/v1alpha1",
        "ScaledObject",
        strict(
            {
                "scaleTargetRef": strict({"name": TEXT}),
                "minReplicaCount": NUMBER,
                "maxReplicaCount": NUMBER,
                "triggers": many(
                    strict({"type": {"const": "kafka"}, "metadata": TEXTS, "authenticationRef": strict({"name": TEXT})})
                ),
            },
            {"cooldownPeriod": NUMBER},
        ),
    ),
    "TriggerAuthentication": resource(
        "keda.sh/v1alpha1",
        "TriggerAuthentication",
        strict({"secretTargetRef": many(strict({"parameter": TEXT, "name": TEXT, "key": TEXT}))}),
    ),
    "PodMonitor": resource(
        "monitoring.coreos.com/v1",
        "PodMonitor",
        strict(
            {
                "jobLabel": TEXT,
                "selector": SELECTOR,
                "podMetricsEndpoints": many(
                    strict(
                        {
                            "port": TEXT,
                            "path": TEXT,
                            "interval": TEXT,
                            "authorization": strict({"type": {"const": "Bearer"}, "credentials": KEY}),
                        }
                    )
                ),
            }
        ),
    ),
    "PrometheusRule": resource(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        strict({"groups": many(strict({"name": TEXT, "rules": many(RULE)}))}),
    ),
    "HTTPRoute": resource(
        "gateway.networking.k8s.io/v1",
        "HTTPRoute",
        strict(
            {
                "parentRefs": many(strict({"name": TEXT}, {"namespace": TEXT, "sectionName": TEXT})),
                "hostnames": many(TEXT),
                "rules": many(
                    strict(
                        {"matches": many(MATCH), "backendRefs": many(strict({"name": TEXT, "port": NUMBER}))},
                        {"timeouts": strict({"request": TEXT})},
                    )
                ),
            }
        ),
    ),
}
