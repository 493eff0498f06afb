"""What README and docs/ say of pods and meshes, held against the manifests and the program, from which neither may drift."""

import re
from pathlib import Path

import pytest

from healthproxy.config import OPTIONS, flag
from tests.manifests import (
    EXEMPTIONS,
    K8S,
    OVERLAYS,
    ROOT,
    annotations_in,
    apps_of,
    kustomization,
    parse,
    pod_spec,
    probes_of,
    read,
    sidecar_of,
    spec_of,
)

MESHES = ROOT / "docs" / "meshes.md"
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
README = ROOT / "README.md"
WRITTEN = [MESHES, TROUBLESHOOTING, *sorted(path for path in K8S.rglob("*.yaml") if path.parent.name != "monitoring")]
"""What the words of the program stand in."""
OTHERS_FLAGS = {"--previous", "--image", "--profile"}
"""kubectl's."""
COMMANDS = {"--check-config", "--explain"}


def section(document: str, heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", document, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def test_the_mesh_table_of_the_readme_says_what_the_overlays_do():
    rows = dict(re.findall(r"^\| (Istio|Istio ambient|Linkerd|Kuma|Consul) \| (.*) \|$", README.read_text(), re.MULTILINE))
    for name, annotations in EXEMPTIONS.values():
        if name != "Istio, by policy":
            written = dict(re.findall(r'`([^`\s]+): "([^"]*)"`', rows[name]))
            prefix = next(iter(written), "").rpartition("/")[0]
            assert {key.replace("…", prefix): value for key, value in written.items()} == annotations, name


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_the_page_of_the_meshes_shows_what_the_overlay_does(overlay):
    name, annotations = EXEMPTIONS[overlay.name]
    heading = "Istio, by annotation" if overlay.name == "istio" else name
    text = section(MESHES.read_text(), heading)
    assert f"(../k8s/overlays/{overlay.name}/kustomization.yaml)" in text
    added = "\n".join(re.findall(r"^\+(.*)$", text, re.MULTILINE))
    rules = parse(added)[0] if added else {}
    if overlay.name == "istio-ambient":
        patch = parse(kustomization(overlay)["patches"][0]["patch"])[0]
        assert rules == [operation["value"] for operation in patch]
    else:
        assert rules == annotations
    shown = [parse(block)[0] for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    extra = [name for name in kustomization(overlay)["resources"] if name.endswith(".yaml")]
    assert shown == [manifest for name in extra for manifest in read(overlay / name)]


@pytest.mark.parametrize("page", [README, MESHES], ids=lambda path: path.stem)
def test_the_edits_that_a_document_shows_are_those_of_the_manifests(page):
    first = re.search(r"```diff\n(.*?)```", page.read_text(), re.DOTALL)
    assert first
    shown = parse("\n".join([line[1:] for line in first[1].splitlines() if not line.startswith("-")]))[0]
    edited, whole = pod_spec(shown), spec_of(K8S / "pod.yaml")
    assert sidecar_of(edited) == {key: sidecar_of(whole).get(key) for key in sidecar_of(edited)}
    assert probes_of(apps_of(edited)[0])["readiness"]["httpGet"] == probes_of(apps_of(whole)[0])["readiness"]["httpGet"]
    assert dict(annotations_in(shown)) in ({}, EXEMPTIONS["istio"][1])


def test_what_the_older_articles_recommend_is_named_as_dead_with_its_successor():
    for path in (K8S / "overlays" / "istio" / "kustomization.yaml", MESHES):
        assert re.search(r"auth\.istio\.io/15180: NONE.*\n?.*Istio 1\.0\s+dropped", path.read_text())
    assert "(../k8s/overlays/istio-policy/" in section(MESHES.read_text(), "Istio, by policy")


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [README, MESHES, TROUBLESHOOTING], ids=lambda path: path.stem)
def test_a_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        found = page.parent / path if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_the_words_of_the_program_are_its_own(path):
    text = path.read_text()
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert flags <= {flag(name) for name in OPTIONS} | COMMANDS | OTHERS_FLAGS
    variables = set(re.findall(r"HEALTHPROXY_\w+", text))
    assert variables <= {"HEALTHPROXY_PROBES"}
    metrics = (ROOT / "docs" / "metrics.md").read_text()
    assert all(f"`{name}`" in metrics for name in re.findall(r"healthproxy_(?:probes|refused)_\w+", text))
