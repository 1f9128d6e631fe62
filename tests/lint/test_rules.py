"""Each rule: the mistakes that it reports, and the manifests that it accepts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tempo_runtime.lint import RULES, lint, lint_files, table
from tests.deploy.kubernetes.manifests.test_secrets import SECRETS
from tests.lint.manifests import CASES, KSERVE, SELDON, SELDON2

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"


@pytest.mark.parametrize("text", [SELDON, SELDON2, KSERVE], ids=["seldon", "seldon2", "kserve"])
def test_correct_manifests_have_no_findings(text: str) -> None:
    assert lint(text) == []


@pytest.mark.parametrize(("rule", "text", "good", "bad"), CASES)
def test_a_rule_reports_its_mistake(rule: str, text: str, good: str, bad: str) -> None:
    assert good in text
    found = [each for each in lint(text.replace(good, bad, 1)) if each.rule == rule]
    assert found
    assert all(each.message and each.consequence and each.fix for each in found)
    assert found[0].severity == RULES[rule].severity
    if rule != "yaml":
        assert 0 < found[0].line <= text.count("\n") + 3


def test_every_rule_has_a_case() -> None:
    assert {rule for rule, *_ in CASES} == {*RULES}


def test_every_rule_has_its_texts() -> None:
    for rule in RULES.values():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.id)
        assert rule.wants.endswith(".")
        assert rule.consequence.endswith(".")
        assert rule.fix


def test_the_container_in_the_manifest_of_tempos_example_is_misnamed() -> None:
    lines = (DATA / "model-explainer-example.md").read_text().split("\n")
    start = lines.index("    apiVersion: machinelearning.seldon.io/v1")
    end = next(n for n, line in enumerate(lines[start:], start) if not line.startswith("    "))
    manifest = [line[4:] for line in lines[start:end]]
    errors = [each for each in lint("\n".join(manifest)) if each.severity == "error"]
    assert [each.rule for each in errors] == ["seldon-container-name"]
    assert manifest[errors[0].line - 1].strip() == "- name: classifier"
    assert errors[0].path == "spec.predictors[0].componentSpecs[0].spec.containers[0].name"
    assert "'classifier'" in errors[0].message
    assert "'income-explainer'" in errors[0].message


@pytest.mark.parametrize("platform", ["seldon", "seldon2", "kserve"])
def test_the_smallest_manifest_that_a_platform_takes_has_no_error(platform: str) -> None:
    found = lint((DATA / f"platforms/{platform}.yaml").read_text())
    assert [each for each in found if each.severity == "error"] == []


def test_a_finding_has_the_line_of_the_mistake() -> None:
    bad = SELDON.replace("cpu: 500m", "cpu: 1500m")
    (found,) = lint(bad, "k8s/shop.yaml")
    assert "cpu: 1500m" in bad.split("\n")[found.line - 1]
    assert (found.file, found.kind, found.name) == ("k8s/shop.yaml", "SeldonDeployment", "shop")


def test_files_are_checked_together_and_in_their_order(tmp_path: Path) -> None:
    shop, price, _ = SELDON.replace(":9000", ":9001").split("---\n")
    (tmp_path / "shop.yaml").write_text(shop)
    assert lint_files([tmp_path / "shop.yaml"]) == []
    (tmp_path / "price.yaml").write_text(price.replace("protocol: v2", "protocol: v3"))
    found = lint_files([tmp_path / "shop.yaml", tmp_path / "price.yaml"])
    assert [each.rule for each in found] == ["child-url", "seldon-protocol"]


def test_a_comment_disables_a_rule_on_its_line() -> None:
    bad = SELDON.replace(
        "protocol: v2", "protocol: v3  # tempo-lint: disable=name, seldon-protocol", 1
    )
    assert lint(bad) == []


def test_an_annotation_disables_a_rule_in_its_document() -> None:
    bad = SELDON.replace("protocol: v2", "protocol: v3")
    bad = bad.replace(
        "annotations: {seldon.io/tempo",
        "annotations: {tempo-runtime/lint-disable: seldon-protocol, seldon.io/tempo",
    )
    assert [each.name for each in lint(bad)] == ["price"]


def test_other_kinds_are_skipped() -> None:
    assert lint("apiVersion: tekton.dev/v1\nkind: Pipeline\nmetadata: {name: A_B}\n") == []
    assert (
        lint("kind: Deployment\napiVersion: apps/v1\nspec: {template: {}}\n--- text\n---\n") == []
    )


def test_items_of_a_list_are_documents() -> None:
    text = (
        "apiVersion: v1\nkind: List\nitems:\n"
        "- apiVersion: mlops.seldon.io/v1alpha1\n  kind: Model\n  metadata: {name: a}\n"
        "  spec: {storageUri: models}\n"
    )
    assert [(each.rule, each.line) for each in lint(text)] == [("uri-scheme", 7)]


@pytest.mark.parametrize(
    "url", ["http://price-eu-default:1", "https://price.example.com", "grpc://price-default:9500"]
)
def test_a_url_of_another_deployment_is_not_checked(url: str) -> None:
    assert lint(SELDON.replace("http://price-default:9000", url)) == []


def test_parameters_of_another_runtime_are_not_checked() -> None:
    bad = SELDON2.replace('timeout, value: "10"', 'timeout, value: "soon"')
    assert lint(bad.replace("requirements: [tempo]", "requirements: [huggingface]")) == []


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_that_manifests_refuse_is_a_warning(name: str) -> None:
    document = yaml.safe_load(SELDON.partition("---\n")[0])
    container = document["spec"]["predictors"][0]["componentSpecs"][0]["spec"]["containers"][0]
    container["env"] = [{"name": name, "value": SECRETS[name]}]
    found = lint(yaml.safe_dump(document))
    assert "env-secret" in {each.rule for each in found}
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        (SELDON, "seldon.io/tempo-model: '", "team/note: ghp_hunter2aaaaaaaaaaaaaaaa, x: '"),
        (SELDON, "s3://models/shop", "https://me:hunter2@models.example/shop"),
        (SELDON2, "storageUri: s3://", "storageUri: https://hunter2@"),
        (KSERVE, "storageUri: s3://", "storageUri: https://me:hunter2@"),
        (
            SELDON,
            "livenessProbe:",
            "args: ['--key=AKIAHUNTER2EXAMPLE00']\n          livenessProbe:",
        ),
    ],
    ids=["annotation", "seldon", "seldon2", "kserve", "argument"],
)
def test_a_secret_anywhere_is_a_warning_that_does_not_print_it(
    text: str, good: str, bad: str
) -> None:
    assert good in text
    found = lint(text.replace(good, bad, 1))
    assert "secret-written" in {each.rule for each in found}
    assert "hunter2" not in repr(found).lower()


@pytest.mark.parametrize(
    ("text", "good", "bad", "told"),
    [
        (
            SELDON,
            "  protocol: v2",
            "  canary: 10\n  protocol: v2",
            "'canary' is not a field of spec",
        ),
        (
            SELDON,
            "graph:\n      name: shop",
            "grpah:\n      name: shop",
            "'grpah' is not a field of spec.predictors[0]; did you mean 'graph'?",
        ),
        (
            SELDON,
            "  protocol: v2\n",
            "  protocol: v2\n  componentSpecs: []\n",
            "'componentSpecs' is not a field of spec; it is a field of spec.predictors",
        ),
        (
            SELDON,
            "    graph:\n      name: shop\n",
            "    graph:\n      name: shop\n      traffic: 50\n",
            "'traffic' is not a field of spec.predictors[0].graph; it is a field of "
            "spec.predictors[0]",
        ),
        (
            SELDON,
            "periodSeconds: 10",
            "periodSecond: 10",
            "'periodSecond' is not a field of spec.predictors[0].componentSpecs[0].spec."
            "containers[0].livenessProbe; did you mean 'periodSeconds'?",
        ),
        (
            SELDON,
            "  name: shop\n  names",
            "  nam: shop\n  names",
            "'nam' is not a field of metadata",
        ),
        (SELDON, "stringData:", "stringdata:", "did you mean 'stringData'?"),
        (SELDON2, "storageUri:", "storageURL:", "did you mean 'storageUri'?"),
        (KSERVE, "modelFormat:", "modelFromat:", "did you mean 'modelFormat'?"),
        ('{"implementation": "a.B"}', "}", ', "paralel_workers": 0}', "mean 'parallel_workers'?"),
    ],
)
def test_an_unknown_field_is_an_error_with_the_probable_field(
    text: str, good: str, bad: str, told: str
) -> None:
    assert good in text
    changed = text.replace(good, bad, 1)
    found = [each for each in lint(changed) if each.rule == "field-unknown"]
    assert [each.severity for each in found] == ["error"]
    assert told in found[0].message
    assert found[0].message.split("'")[1] in changed.split("\n")[found[0].line - 1]


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("labels: {team: a}", "labels: {anything/at-all: a}"),
        ("annotations: {seldon", "annotations: {anything/at-all: a, seldon"),
        ("requests: {cpu: 500m, ", "requests: {cpu: 500m, nvidia.com/gpu: 1, "),
        ("  protocol: v2", "  protocol: v2\n  $patch: merge"),
    ],
)
def test_places_that_a_schema_leaves_open_are_not_checked(good: str, bad: str) -> None:
    assert good in SELDON
    found = lint(SELDON.replace(good, bad, 1))
    assert "field-unknown" not in {each.rule for each in found}


@pytest.mark.parametrize("name", ["TOKENIZER", "MAX_TOKENS", "TOKEN_FILE", "AWS_ACCESS_KEY_ID"])
def test_a_name_that_only_sounds_like_a_secret_is_allowed(name: str) -> None:
    assert lint(SELDON.replace("MLSERVER_PARALLEL_WORKERS", name)) == []


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ("{name: DB_PASS, value: hunter2}", "env-secret"),
        ('{name: A, value: "1"}, {name: A, value: "2"}', "env-twice"),
    ],
)
def test_variables_of_an_init_container_are_checked(entry: str, rule: str) -> None:
    init = f"        initContainers: [{{name: fetch, image: 'a:1', env: [{entry}]}}]\n"
    text = SELDON.replace("        containers:\n", f"{init}        containers:\n", 1)
    assert [each.rule for each in lint(text)] == [rule]


@pytest.mark.parametrize("value", ["48151623", "1.57", "yes", "[a1b2]"])
@pytest.mark.parametrize(
    ("text", "variable"),
    [
        (SELDON, 'MLSERVER_PARALLEL_WORKERS, value: "0"'),
        (SELDON2, 'timeout, value: "10"'),
    ],
    ids=["a variable", "a parameter"],
)
def test_a_password_that_is_not_text_is_not_printed(text: str, variable: str, value: str) -> None:
    assert value not in repr(lint(text.replace(variable, f"DB_PASSWORD, value: {value}")))


@pytest.mark.parametrize("rule", ["env-value", "no-such-rule"])
def test_a_rule_that_does_not_exist_may_be_disabled(rule: str) -> None:
    text = SELDON.replace("protocol: v2", f"protocol: v2  # tempo-lint: disable={rule}", 1)
    annotations = f"annotations: {{tempo-runtime/lint-disable: {rule}, seldon.io/tempo"
    assert lint(text.replace("annotations: {seldon.io/tempo", annotations)) == []


@pytest.mark.parametrize("kind", ["SeldonDeployment", "InferenceService"])
def test_a_name_for_a_service_starts_with_a_letter(kind: str) -> None:
    text = {"SeldonDeployment": SELDON, "InferenceService": KSERVE}[kind]
    found = [each for each in lint(text.replace("name: shop", "name: 1shop")) if each.kind == kind]
    assert "name" in {each.rule for each in found}


def test_the_docs_have_the_table_of_rules() -> None:
    assert table().strip() in (ROOT / "docs/lint.md").read_text()
