"""The papers of the project agree with each other and with what is there."""

import ast
import importlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import diffnotes
from diffnotes.press.command import parser

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME, TEST = PROJECT["dependencies"], PROJECT["optional-dependencies"]["test"]
CONDA_NAME = {"pytorch": "torch"}
SUBCOMMANDS = set(parser()._subparsers._group_actions[0].choices)
MAC = pytest.mark.skipif(sys.platform == "darwin", reason="a Mac may have a browser outside the PATH")


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def bounds(requirements):
    """name -> bounds, names as pip writes them."""
    parsed = [Requirement(line) for line in requirements]
    return {CONDA_NAME.get(canonicalize_name(one.name), canonicalize_name(one.name)): one.specifier for one in parsed}


def pins():
    lines = [line for line in text(".ci/constraints.txt").splitlines() if line and not line.startswith("#")]
    found = dict(line.split("==") for line in lines)
    assert len(found) == len(lines)
    return {canonicalize_name(name): version for name, version in found.items()}


def closure(requirements):
    """Names of all that ``requirements`` need on Linux and Python 3.11, as the installed packages tell.

    What PyTorch brings for one kind of GPU is left out: PyTorch pins it.
    """
    here = {"python_version": "3.11", "python_full_version": "3.11.7", "sys_platform": "linux", "os_name": "posix",
            "platform_system": "Linux", "platform_machine": "x86_64",
            "platform_python_implementation": "CPython"}  # fmt: skip
    waiting, seen = [Requirement(line) for line in requirements], set()
    while waiting:
        wanted = waiting.pop()
        name, extras = canonicalize_name(wanted.name), tuple(sorted(wanted.extras))
        if (name, extras) in seen or name.startswith(("nvidia-", "cuda-")):
            continue
        seen.add((name, extras))
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # on another platform
            continue
        for requirement in map(Requirement, lines):
            choices = [here | {"extra": extra} for extra in (*extras, "")]
            if requirement.marker is None or any(map(requirement.marker.evaluate, choices)):
                waiting.append(requirement)
    return {name for name, _ in seen}


def tracked():
    """Files under version control, without vendored libraries."""
    listing = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    vendored = ("book/_static/mathjax/", "book/_static/reveal/", "book/_static/widgets/")
    names = [name for name in listing.stdout.split("\0") if name and not name.startswith(vendored)]
    return [name for name in names if (ROOT / name).is_file()]


# --- dependencies ----------------------------------------------------------------------------------------------


def test_environment_and_pyproject_name_the_same_dependencies():
    environment = yaml.safe_load(text("environment.yml"))
    conda = [line for line in environment["dependencies"] if isinstance(line, str)]
    (by_pip,) = (line["pip"] for line in environment["dependencies"] if isinstance(line, dict))
    assert environment["channels"] == ["conda-forge"] and environment["name"] == PROJECT["name"]
    assert by_pip[-1] == "-e ."
    named = bounds(conda) | bounds(by_pip[:-1])
    assert named.pop("python") == Requirement("python" + PROJECT["requires-python"]).specifier
    assert named.pop("pip") == ""
    assert named == bounds(RUNTIME) | bounds(TEST)
    assert len(conda) + len(by_pip) - 1 == len(named) + 2  # nothing twice


def test_constraints_pin_every_dependency_exactly():
    pinned = pins()
    for version in pinned.values():
        assert re.fullmatch(r"\d[\w.]*", version), version  # no local version, no marker, no range
    for name, specifier in (bounds(RUNTIME) | bounds(TEST)).items():
        assert specifier.contains(pinned[name]), f"{name}=={pinned[name]} is outside {specifier}"


def test_constraints_reach_every_dependency_of_a_dependency():
    needed = closure(RUNTIME + TEST) - {"setuptools", "pip", "wheel", "triton"}
    assert needed == pins().keys()  # nothing is left open, and nothing is pinned that nobody needs


def test_the_package_imports_light():
    """Heavy libraries are imported where they are used: none comes with the mathematics."""
    rooms = sorted(path.stem for path in (ROOT / "diffnotes").glob("*.py"))
    rooms = [f"diffnotes.{name}" for name in rooms if name not in ("__init__", "figures")]
    heavy = "scipy sklearn matplotlib seaborn papermill IPython tqdm joblib ipywidgets pandas diffusers".split()
    code = f"import sys, torch; before = set(sys.modules); import {', '.join(['diffnotes', *rooms])}; "
    code += f"print([name for name in {heavy} if name in set(sys.modules) - before])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_every_import_is_a_declared_dependency():
    """The package asks for nothing that only the tests need, and neither for what nobody names."""
    homes = metadata.packages_distributions()
    own = {"diffnotes", *(path.stem for path in (ROOT / "tests").glob("*.py"))}
    cluster = {"dask", "distributed"}
    for folder, allowed in (("diffnotes", closure(RUNTIME) | cluster), ("tests", closure(RUNTIME + TEST))):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
                for name in {name.split(".")[0] for name in names} - own - sys.stdlib_module_names:
                    providers = {canonicalize_name(home) for home in homes.get(name, [name])}
                    assert providers & allowed, f"{path.relative_to(ROOT)} imports {name}"


# --- papers ----------------------------------------------------------------------------------------------------


def test_one_version():
    citation = yaml.safe_load(text("CITATION.cff"))
    newest = re.search(r"^## \[(.+?)\]", text("CHANGELOG.md"), re.M)[1]
    assert diffnotes.__version__ == PROJECT["version"] == str(citation["version"]) == newest


def test_citation_has_what_the_format_requires():
    citation = yaml.safe_load(text("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["cff-version"] == "1.2.0" and citation["type"] in ("software", "dataset")
    assert citation["authors"] and all(author.keys() & {"name", "family-names"} for author in citation["authors"])
    assert citation["license"] == PROJECT["license"] == "MIT" and text("LICENSE").startswith("MIT License")
    assert citation.get("repository-code", "") == yaml.safe_load(text("_config.yml"))["repository"]["url"]


def commands(name):
    """The shell commands in fenced blocks and in code spans."""
    page = text(name)
    lines = [line for block in re.findall(r"```(?:bash|sh)\n(.*?)```", page, re.S) for line in block.splitlines()]
    lines += re.findall(r"(?<!`)`([^`\n]+)`(?!`)", page)
    return [part.strip() for line in lines for part in line.split("#")[0].split("&&") if part.strip()]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "book/reproduce.md", "book/index.md",
                                  "book/teaching/guide.md", "book/teaching/instructor/answers.md"])  # fmt: skip
def test_papers_name_only_commands_that_exist(name):
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.M))
    known = commands(name)
    for command in known:
        words = shlex.split(re.sub(r"^(\w+=\S+ )+", "", command)) or [""]
        if words[0] == "make" and len(words) > 1:
            assert {word for word in words[1:] if not re.fullmatch(r"[A-Z]+=\S+", word)} <= targets, command
        if words[0] == "diffnotes" and len(words) == 2:
            assert words[1] in SUBCOMMANDS | {"--help"}, command
        elif words[0] == "diffnotes" and len(words) > 2:
            parser().parse_args(words[1:])  # exits for an unknown command or option
        if words[0].startswith(".venv/bin/"):
            assert words[0].removeprefix(".venv/bin/") in ("python", "ruff"), command
    if name == "README.md":
        assert {"make book", "make test"} <= set(known)
        named = {words.split()[1] for words in known if words.startswith("diffnotes ")}
        assert named == SUBCOMMANDS  # every command is told of


def test_names_of_the_package_are_where_its_table_says():
    """The lazy table and what type checkers read are one list, and each name is the one that its module has."""
    tree = ast.parse(text("diffnotes/__init__.py"))
    read = {alias.name: node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module
            and node.level for alias in node.names}  # fmt: skip
    assert read == diffnotes._HOME and sorted(read) == diffnotes.__all__
    for name, room in read.items():
        assert getattr(diffnotes, name) is getattr(importlib.import_module(f"diffnotes.{room}"), name)
    with pytest.raises(AttributeError, match="no attribute 'nobody'"):
        diffnotes.nobody  # noqa: B018
    light = "import sys, diffnotes.press.command; print('torch' in sys.modules, 'numpy' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", light], capture_output=True, text=True).stdout
    assert said == "False False\n"


def test_a_command_that_does_not_exist_would_be_noticed(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["polish"])
    with pytest.raises(SystemExit):
        parser().parse_args(["run", "--fast"])


def test_papers_name_only_files_that_exist():
    made = ("_build/", ".venv/", "executed/", "mnist.npz", "notebooks/NAME.ipynb")
    for name in ("README.md", "CONTRIBUTING.md"):
        for span in re.findall(r"`([\w.]+/[\w./-]*|[A-Z_]+\.(?:md|cff)|[\w.]+\.(?:yml|toml|html))`", text(name)):
            if not span.startswith(made) and "NAME" not in span and span not in ("index.html", "profiles.toml"):
                assert (ROOT / span).exists(), f"{name} names {span}"


def test_the_examples_of_the_readme_run(capsys, monkeypatch, tmp_path):
    first, second = re.findall(r"```python\n(.*?)```", text("README.md"), re.S)
    exec(compile(first, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.startswith("-3.18") and "4.54" in printed
    monkeypatch.setenv("DIFFNOTES_NETWORKS", str(tmp_path))
    names = {}
    exec(compile(second.replace("steps=2000", "steps=20"), "README.md", "exec"), names)
    assert names["samples"].shape == (5, 1000, 1) and len(list(tmp_path.iterdir())) == 1


# --- nothing of one machine ------------------------------------------------------------------------------------

SOMEWHERE = re.compile(r"(?<![\w/.~-])/(?:work|root|home|Users)/[A-Za-z.][\w.-]*")
INDEX = re.compile(r"py" r"pi\.|python" r"hosted|download\.py" r"torch|index" r"-url|find" r"-links", re.I)


@pytest.mark.parametrize("line, pattern", [
    ("see /ro" "ot/.cache/pip", SOMEWHERE),
    ("FILE = '/ho" "me/anna/data'", SOMEWHERE),
    ("pip install --index" "-url https://example.org", INDEX),
    ("https://py" "pi.org/simple", INDEX),
])  # fmt: skip
def test_the_patterns_find_what_they_look_for(line, pattern):
    assert pattern.search(line)


def test_no_file_mentions_a_machine_path_or_a_package_index():
    staged = re.compile(r"^tests/")  # the tests stage such paths, to see them refused
    for name in tracked():
        try:
            page = text(name)
        except UnicodeDecodeError:
            continue
        assert not (found := INDEX.search(page)), f"{name}: {found}"
        assert str(ROOT) + "/" not in page, f"{name} names this checkout"
        if not staged.match(name):
            assert not (found := SOMEWHERE.search(page)), f"{name}: {found}"


def test_nothing_that_is_made_is_tracked():
    for name in tracked():
        assert not name.startswith(("_build/", ".venv/")) and "__pycache__" not in name, name
        assert (ROOT / name).stat().st_size < 4_000_000, f"{name} is larger than 4 MB"


def test_top_level_holds_what_it_should_and_nothing_else():
    allowed = {"book", "diffnotes", "notebooks", "tests", "benchmarks", ".ci", ".gitignore", "_config.yml", "_toc.yml",
               "environment.yml", "README.md", "pyproject.toml", "Makefile", "LICENSE", "CITATION.cff", "CHANGELOG.md",
               "CONTRIBUTING.md", ".github"}  # fmt: skip
    assert {name.split("/")[0] for name in tracked()} <= allowed


# --- the machine below -----------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path):
    """A bare machine: a PATH of our own, with `id` and `apt-get` that say what they were asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "bash", "env"):
        (folder / tool).symlink_to(shutil.which(tool))

    def put(name, body):
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)

    def run(*arguments, **environment):
        environment = {"PATH": str(folder), "LOG": str(tmp_path / "log"), "HOME": str(tmp_path)} | environment
        script = str(ROOT / ".ci" / "system-packages")
        return subprocess.run([script, *arguments], capture_output=True, text=True, env=environment)

    machine = type("Machine", (), {"put": staticmethod(put), "run": staticmethod(run), "folder": folder})
    machine.log = tmp_path / "log"
    return machine


def debian(machine, makes):
    """A root user, and an apt-get after which `makes` exists as a command."""
    machine.put("id", "echo 0")
    create = f"echo '#!/bin/sh' > {machine.folder}/{makes}; echo 'exit 0' >> {machine.folder}/{makes}"
    chmod = shutil.which("chmod")
    machine.put("apt-get", f'echo "$@" >> "$LOG"; {create}; {chmod} +x {machine.folder}/{makes}')


@pytest.mark.parametrize("arguments, package, makes", [
    (("python", "environment"), "python3-venv", "python3"),
    pytest.param(("browser",), "chromium", "chromium", marks=MAC),
])  # fmt: skip
def test_root_on_debian_gets_what_is_missing(machine, arguments, package, makes):
    debian(machine, makes)
    result = machine.run(*arguments)
    assert result.returncode == 0, result.stderr
    assert machine.log.read_text() == f"install -y -qq --no-install-recommends {package}\n"
    assert machine.run(*arguments).returncode == 0
    assert machine.log.read_text().count("\n") == 1  # not a second time


def test_what_the_pdf_needs_is_looked_for_one_by_one(machine):
    """LaTeX is there and a font is not: that alone is installed, and nothing where all is there."""
    for tool in ("latexmk", "xelatex"):
        machine.put(tool, "exit 0")
    for tool in ("kpsewhich", "fc-list"):
        machine.put(tool, "echo found")
    machine.put("id", "echo 0")
    machine.put("apt-get", 'echo "$@" >> "$LOG"')
    assert machine.run("print").returncode == 0 and not machine.log.exists()
    machine.put("kpsewhich", '[ "$1" != texgyretermes-math.otf ]')
    machine.put("fc-list", '[ "$1" = FreeSerif ] || echo found')
    assert machine.run("print").returncode == 0
    packages = [line.split()[-1] for line in machine.log.read_text().splitlines()]
    assert packages == ["fonts-texgyre-math", "fonts-freefont-otf"]
    machine.put("id", "echo 1000")
    refused = machine.run("print")
    assert refused.returncode == 1 and "fonts-texgyre-math" in refused.stderr


@pytest.mark.parametrize("arguments, package, brew", [
    (("python", "environment"), "python3-venv", "brew install python@3.13"),
    pytest.param(("browser",), "chromium", "brew install --cask chromium", marks=MAC),
])  # fmt: skip
def test_others_are_told_what_to_install(machine, arguments, package, brew):
    machine.put("id", "echo 1000")
    result = machine.run(*arguments)
    assert result.returncode == 1
    assert f"Missing: {package}." in result.stderr and brew in result.stderr and "apt-get install" in result.stderr


def test_an_unsupported_python_is_passed_over(machine):
    machine.put("id", "echo 1000")
    machine.put("python3", "exit 1")  # as 3.9 would: the question about the version fails
    machine.put("python3.12", 'echo "$@" >> "$LOG"')
    assert machine.run("python", "environment").returncode == 0
    assert machine.log.read_text().splitlines()[-1] == "-m venv environment"


@MAC
def test_a_browser_in_an_unusual_place_is_taken(machine, tmp_path):
    machine.put("id", "echo 1000")
    machine.put("mychrome", "exit 0")
    assert machine.run("browser").returncode == 1
    assert machine.run("browser", DIFFNOTES_CHROMIUM=str(machine.folder / "mychrome")).returncode == 0


@MAC
def test_ubuntu_is_told_that_bubblewrap_may_make_rooms(machine, tmp_path):
    """Where only programs with a profile may: root writes one, once; others are told that root can."""
    profile = tmp_path / "bwrap"
    machine.put("uname", "echo Linux")
    machine.put("sysctl", "echo 1")
    machine.put("apparmor_parser", 'echo "$@" >> "$LOG"')
    machine.put("id", "echo 1000")
    machine.put("bwrap", "exit 1")
    refused = machine.run("sandbox", APPARMOR=str(tmp_path))
    assert refused.returncode == 1 and "sudo .ci/system-packages sandbox" in refused.stderr and not profile.exists()
    machine.put("id", "echo 0")
    assert machine.run("sandbox", APPARMOR=str(tmp_path)).returncode == 0
    assert f"profile bwrap {machine.folder}/bwrap flags=(unconfined) {{\n    userns,\n}}\n" in profile.read_text()
    assert machine.run("sandbox", APPARMOR=str(tmp_path)).returncode == 0  # has it
    assert machine.log.read_text() == f"--replace {profile}\n"
    machine.put("id", "echo 1000")
    machine.put("bwrap", "exit 0")
    assert machine.run("sandbox", APPARMOR=str(tmp_path)).returncode == 0


@MAC
def test_nothing_is_allowed_where_nothing_is_restricted(machine, tmp_path):
    machine.put("uname", "echo Linux")
    machine.put("id", "echo 0")
    machine.put("bwrap", "exit 1")
    machine.put("sysctl", "exit 255")
    assert machine.run("sandbox", APPARMOR=str(tmp_path)).returncode == 0
    assert not (tmp_path / "bwrap").exists()


def test_make_without_a_target_says_what_can_be_made():
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    result = subprocess.run(["make", "-C", ROOT, "--no-print-directory"], capture_output=True, text=True)
    assert result.returncode == 0
    for target in re.findall(r"^([a-z]+):.*##", text("Makefile"), re.M):
        assert f"make {target}" in result.stdout
