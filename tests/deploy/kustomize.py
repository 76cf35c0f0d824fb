"""As much of Kustomize as our files use, so that they can be rendered where there is no kubectl.

Resources, components, strategic merge patches by name or by kind, images, namespace and labels. Where kubectl is there,
a test holds this against it.
"""

import copy
from pathlib import Path

import yaml

KNOWN = {"apiVersion", "kind", "resources", "components", "patches", "images", "labels", "namespace"}
MERGED_BY = {
    "containers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
"""Lists that are merged item by item, and what an item is known by; other lists are replaced."""
TEMPLATED = {"Deployment", "StatefulSet", "Job"}


def render(folder):
    """The resources that a kustomization folder makes, in order."""
    told = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(told) <= KNOWN, f"{folder}: {set(told) - KNOWN} is not understood here"
    found = []
    for name in (*told.get("resources", ()), *told.get("components", ())):
        path = Path(folder / name).resolve()
        found += render(path) if path.is_dir() else documents(path)
    for patch in told.get("patches", ()):
        _patch(found, folder, patch)
    for image in told.get("images", ()):
        _image(found, image)
    for resource in found:
        if "namespace" in told:
            resource["metadata"]["namespace"] = told["namespace"]
        for label in told.get("labels", ()):
            _label(resource, label)
    return found


def documents(path):
    """The resources of one file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def _patch(found, folder, patch):
    (change,) = documents(folder / patch["path"])
    target = patch.get("target", {"kind": change["kind"], "name": change["metadata"]["name"]})
    meant = [
        resource
        for resource in found
        if resource["kind"] == target["kind"] and target.get("name") in (None, resource["metadata"]["name"])
    ]
    assert meant, f"{patch['path']} changes nothing"
    body = {key: value for key, value in change.items() if key not in ("apiVersion", "kind", "metadata")}
    for resource in meant:
        _merge(resource, body)


def _merge(into, change):
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        elif key in MERGED_BY and isinstance(into.get(key), list):
            into[key] = _merged(into[key], value, MERGED_BY[key])
        else:
            into[key] = copy.deepcopy(value)


def _merged(items, changes, by):
    found = [copy.deepcopy(item) for item in items]
    for change in changes:
        same = [item for item in found if item[by] == change[by]]
        if same:
            _merge(same[0], change)
        else:
            found.append(copy.deepcopy(change))
    return found


def _image(found, image):
    for resource in found:
        for container in _pod(resource).get("containers", ()):
            if container["image"] == image["name"]:
                container["image"] = f"{image['name']}:{image['newTag']}"


def _pod(resource):
    return resource["spec"]["template"]["spec"] if resource["kind"] in TEMPLATED else {}


def _label(resource, label):
    assert set(label) <= {"pairs", "includeTemplates"}
    resource["metadata"].setdefault("labels", {}).update(label["pairs"])
    if label.get("includeTemplates") and resource["kind"] in TEMPLATED:
        resource["spec"]["template"]["metadata"].setdefault("labels", {}).update(label["pairs"])
        for claim in resource["spec"].get("volumeClaimTemplates", ()):
            claim["metadata"].setdefault("labels", {}).update(label["pairs"])
