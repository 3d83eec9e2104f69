"""The room that submissions are executed in, attacked by programs that need no book and no network."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from diffnotes.press.layout import Project
from diffnotes.press.teach import sandbox

PROJECT = Project.find()
READ = ["/", "/dev", "/etc", "/usr", "/root"]
KEYS = PROJECT.package / "exercises" / "keys"


def inside(code, project=PROJECT):
    """What a program prints in the room."""
    room = sandbox.command(project)[:-4]
    env = {**os.environ, "LECTURERS_TOKEN": "hunter2"}
    found = subprocess.run([*room, sys.executable, "-s", "-c", code], capture_output=True, text=True, env=env)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_nobody_has_a_capability_there():
    lines = inside("print(open('/proc/self/status').read())").splitlines()
    assert [line.split()[1] for line in lines if line.startswith("Cap")] == ["0" * 16] * 5


def test_what_lies_over_the_keys_cannot_be_taken_away():
    print(inside("\n".join([
        "import ctypes, os",
        "system = ctypes.CDLL(None)",
        f"keys, package = {str(KEYS)!r}.encode(), {str(PROJECT.package)!r}.encode()",
        "for _ in range(2):",
        "    for flag in (0, 2): assert system.umount2(keys, flag) == -1",
        "    assert system.mount(None, package, None, 32 | 4096, None) == -1",  # MS_REMOUNT, MS_BIND
        "    os.makedirs('/tmp/work/beside', exist_ok=True)",
        "    assert system.mount(package, b'/tmp/work/beside', None, 4096, None) == -1",
        "    assert os.listdir(keys) == []",
        "    system.unshare(0x10000000 | 0x20000)",  # a second round with all capabilities of a new user namespace
    ])))
    assert any(KEYS.glob("*.py"))


def test_nothing_but_two_small_folders_can_be_written():
    found = inside("\n".join([
        "import os",
        f"for place in {[*READ, str(KEYS), str(PROJECT.package), '/tmp', '/dev/shm']}:",
        "    try:",
        "        with open(os.path.join(place, 'x'), 'wb') as file:",
        "            for _ in range(300): file.write(bytes(2**20))",
        "        print('filled', place)",
        "    except OSError as error: print(error.errno, place)",
    ]))  # fmt: skip
    assert "filled" not in found
    full = {line.split()[1] for line in found.splitlines() if line.startswith("28 ")}  # no space left
    assert full == {"/tmp", "/dev/shm"}
    assert not list(PROJECT.package.rglob("x")) and not os.path.exists("/x")


def test_the_kernel_cannot_be_set():
    found = inside("\n".join([
        "import os",
        "for place, _, files in os.walk('/proc'):",
        "    for path in (os.path.join(place, name) for name in files):",
        "        if path.startswith(('/proc/self', '/proc/thread-self', f'/proc/{os.getpid()}')): continue",
        "        try: os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))",
        "        except OSError: continue",
        "        print(path)",
    ]))  # fmt: skip
    assert not [path for path in found.split() if not path.split("/")[2].isdigit()]


def test_the_environment_of_who_grades_is_not_to_be_seen():
    code = ("import os\n"
            "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
            "    print(open(f'/proc/{pid}/environ').read(), open(f'/proc/{pid}/cmdline').read())")  # fmt: skip
    assert "hunter2" not in inside(code)


def test_answers_that_lie_in_a_folder_to_read_are_hidden(tmp_path, monkeypatch):
    """Another copy of the package, and a book inside the folder of its environment."""
    copy = tmp_path / "env" / "site" / "diffnotes" / "exercises" / "keys"
    book = tmp_path / "env" / "book"
    for folder in (copy, book / "notebooks" / "exercises", book / ".git", book / "tests", book / "_build"):
        folder.mkdir(parents=True)
        (folder / "forty-two").write_text("42")
    monkeypatch.syspath_prepend(str(tmp_path / "env" / "site"))
    monkeypatch.setattr(sandbox, "SYSTEM", (*sandbox.SYSTEM, str(tmp_path / "env")))
    code = f"import os\nfor place in os.walk({str(tmp_path / 'env')!r}): print(place)"
    found = inside(code, replace(PROJECT, root=book))
    assert "notebooks" in found and "keys" in found and "forty-two" not in found


@pytest.mark.parametrize("what", ["create_connection(('1.1.1.1', 53), 1)", "getaddrinfo('example.org', 443)"])
def test_there_is_no_network(what):
    code = f"import socket\ntry: socket.{what}\nexcept OSError as error: print('none', error)"
    assert inside(code).startswith("none")
