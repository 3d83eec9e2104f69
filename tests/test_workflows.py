"""The workflows of GitHub: sound by its schema, with names that there are, and nothing in them but what runs here."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from browser import Browser

from diffnotes.press.launch import BRANCH

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = ROOT / "tests/schemas/github-workflows.json"
ACTIONLINT = ROOT / "tests/actionlint"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))

class Loader(yaml.SafeLoader):
    """YAML 1.2 as GitHub reads it: "on" is a word."""


Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:bool"]
    for letter, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}  # fmt: skip
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), "tf")


def faults(flow: dict[str, Any]) -> list[str]:
    """What is wrong with a workflow: by the schema, and with what its expressions and jobs name."""
    schema = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text(encoding="utf8")))
    return [error.message for error in schema.iter_errors(flow)] or list(unknown(flow))


def unknown(flow: dict[str, Any]) -> Iterator[str]:
    """Jobs, inputs and steps that are named and that there are not."""
    asked = flow["on"] if isinstance(flow["on"], dict) else {}
    inputs = ((asked.get("workflow_dispatch") or {}).get("inputs") or {}).keys()
    for job in flow["jobs"].values():
        needs = job.get("needs", [])
        yield from (f"needs {one}" for one in ([needs] if isinstance(needs, str) else needs) if one not in flow["jobs"])
        steps = {step["id"] for step in job.get("steps", []) if "id" in step}
        known = {"inputs": inputs, "steps": steps, "github": None, "env": None, "secrets": None, "runner": None}
        for expression in re.findall(r"\$\{\{(.*?)\}\}", json.dumps(job)):
            for room, name in re.findall(r"\b([a-z]+)\.(\w+)", re.sub(r"'[^']*'", "", expression))[:1]:
                if room not in known or (known[room] is not None and name not in known[room]):
                    yield f"{room}.{name}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_are_sound(path: Path) -> None:
    assert faults(yaml.load(path.read_text(encoding="utf8"), Loader)) == []


@pytest.mark.parametrize(("change", "words"), [
    (lambda flow: flow["jobs"]["build"].update({"runs_on": "x"}), "runs_on"),
    (lambda flow: flow["jobs"]["build"].pop("runs-on"), "not valid"),
    (lambda flow: flow["jobs"]["build"]["steps"][0].update(run="make site"), "not valid"),
    (lambda flow: flow["jobs"]["build"]["permissions"].update(contents="all"), "not"),
    (lambda flow: flow.pop("on"), "'on' is a required"),
    (lambda flow: flow["jobs"]["deploy"].update(needs="built"), "needs built"),
    (lambda flow: flow["jobs"]["deploy"]["environment"].update(url="${{ steps.deploy.outputs.page_url }}"), "deploy"),
    (lambda flow: flow["jobs"]["build"]["steps"][-1].update(env={"A": "${{ inputs.name }}"}), "inputs.name"),
])  # fmt: skip
def test_a_fault_in_a_workflow_is_seen(change: Callable[[dict[str, Any]], Any], words: str) -> None:
    flow = copy.deepcopy(yaml.load((ROOT / ".github/workflows/pages.yml").read_text(encoding="utf8"), Loader))
    change(flow)
    assert any(words in one for one in faults(flow)), faults(flow)


# actionlint looks into expressions, shells and the needs of jobs


@pytest.fixture(scope="module")
def actionlint(browser: Browser) -> Callable[[str], list[str]]:
    """What actionlint has to say of the text of a workflow, but for the labels that `actionlint.yaml` names."""
    labels = yaml.safe_load((ROOT / ".github/actionlint.yaml").read_text())["self-hosted-runner"]["labels"]
    go, module = ((ACTIONLINT / name).read_text(encoding="utf8") for name in ("tiny_wasm_exec.js", "actionlint.cjs"))
    wasm = base64.b64encode((ACTIONLINT / "main.wasm").read_bytes()).decode()
    browser.open("about:blank")
    browser.run(f"""(async () => {{
        const module = {{exports: {{}}}}, require = () => null;
        {go}
        {module}
        const bytes = Uint8Array.from(atob("{wasm}"), letter => letter.charCodeAt(0));
        globalThis.lint = await module.exports.createActionlint(go => WebAssembly.instantiate(bytes, go.importObject));
    }})()""")

    def lint(text: str) -> list[str]:
        found = browser.run(f"lint({json.dumps(text)}, 'workflow.yml')")
        return [f"line {one['line']}: {one['message']}" for one in found
                if not any(one["message"].startswith(f'label "{label}" is unknown') for label in labels)]  # fmt: skip

    return lint


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actionlint_finds_nothing(path: Path, actionlint: Callable[[str], list[str]]) -> None:
    assert actionlint(path.read_text(encoding="utf8")) == []


@pytest.mark.parametrize(("old", "new", "words"), [
    ("github.token", "gitub.token", "undefined variable"),
    ("github.run_id", "github.runs", 'property "runs" is not defined'),
    ("self-hosted, gpu", "self-hosted, gpus", 'label "gpus" is unknown'),
    ("inputs.chapters", "inputs.chapter", 'property "chapter" is not defined'),
    ("timeout-minutes: 360", "timeout-minutes: long", "float number literal"),
])  # fmt: skip
def test_actionlint_sees_a_fault(actionlint: Callable[[str], list[str]], old: str, new: str, words: str) -> None:
    text = (ROOT / ".github/workflows/gpu.yml").read_text(encoding="utf8")
    assert old in text
    assert any(words in one for one in actionlint(text.replace(old, new)))


def test_actionlint_is_the_published_one() -> None:
    told = (ACTIONLINT / "README.md").read_text(encoding="utf8")
    for name in ("main.wasm", "actionlint.cjs", "tiny_wasm_exec.js"):
        assert hashlib.sha256((ACTIONLINT / name).read_bytes()).hexdigest() in told
    assert "MIT License" in (ACTIONLINT / "LICENSE").read_text(encoding="utf8")


def test_the_schema_is_the_published_one() -> None:
    told = (SCHEMA.parent / "README.md").read_text(encoding="utf8")
    assert hashlib.sha256(SCHEMA.read_bytes()).hexdigest() in told
    assert "Apache License" in (SCHEMA.parent / "LICENSE").read_text(encoding="utf8")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_only_call_what_can_be_called_here(path: Path) -> None:
    """Steps are actions pinned by commit, or scripts and targets of the repository; rights are as small as can be."""
    text = path.read_text()
    flow = yaml.safe_load(text)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert flow["permissions"] and "write-all" not in text and "pull_request_target" not in text
    for job in flow["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 360
        for step in job["steps"]:
            if "uses" in step:
                assert re.search(rf"uses: {re.escape(step['uses'])}  # v\d+\.\d+\.\d+$", text, re.M), step
                assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"])
                continue
            words = step["run"].removeprefix("sudo ").split()
            assert "${{" not in step["run"], "what somebody types in must not become a command"
            if words[0] == "make":
                assert set(words[1:]) <= targets
            else:
                assert words[0].startswith(".ci/") and os.access(ROOT / words[0], os.X_OK), step


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_set_up_as_root_what_their_targets_need(path: Path) -> None:
    """Steps are not root's, so what `make` would install has to be there before, for what `sudo` is given to."""
    makefile = (ROOT / "Makefile").read_text()
    for job in yaml.safe_load(path.read_text())["jobs"].values():
        steps = [step.get("run", "") for step in job["steps"]]
        for place, step in enumerate(steps):
            for target in step.split()[1:] if step.startswith("make ") else ():
                recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)*)", makefile, re.M)
                assert recipe is not None
                for what in re.findall(r"\.ci/system-packages (\w+)", recipe[1]):
                    assert f"sudo .ci/system-packages {what}" in steps[:place], f"{path.name}: {step} needs {what}"


def test_workflows_are_those_that_there_should_be() -> None:
    assert [path.stem for path in WORKFLOWS] == ["gpu", "pages", "release", "test"]


def test_the_notebooks_of_the_site_go_on_a_branch_of_their_own(tmp_path: Path) -> None:
    """Anew each time; and nothing is sent where there is no site."""
    (tmp_path / ".ci").mkdir()
    script = tmp_path / ".ci" / "launch-branch"
    script.write_bytes((ROOT / ".ci" / "launch-branch").read_bytes())
    script.chmod(0o755)
    remote = tmp_path / "remote"
    subprocess.run(["git", "init", "--quiet", "--bare", remote], check=True)
    refused = subprocess.run([script, remote], capture_output=True, text=True)
    assert refused.returncode == 1 and "make site" in refused.stderr
    notebooks = tmp_path / "_build/html/notebooks"
    notebooks.mkdir(parents=True)
    for name in ("a", "b"):
        for old in notebooks.iterdir():
            old.unlink()
        (notebooks / f"{name}.ipynb").write_text("{}")
        subprocess.run([script, remote], check=True)
        shown = ["git", "-C", remote, "ls-tree", "--name-only", BRANCH]
        assert subprocess.run(shown, capture_output=True, text=True, check=True).stdout == f"{name}.ipynb\n"
    count = subprocess.run(["git", "-C", remote, "rev-list", "--count", BRANCH], capture_output=True, text=True)
    assert count.stdout == "1\n"
