"""Headless Chromium, driven through its DevTools pipe: no driver, no port, no package beyond the standard library."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--remote-debugging-pipe",
)  # fmt: skip
WAIT = 60.0  # seconds for any one answer

# Everything folded is opened, what is out of sight has its place, and nothing is on its way from one colour to another.
STILL = """(() => {
  document.head.appendChild(document.createElement('style')).textContent =
    '* { transition: none !important; animation: none !important } section { content-visibility: visible !important }';
  document.querySelectorAll('details').forEach(fold => { fold.open = true; });
})()"""


def executable() -> str:
    """Path of Chromium or Chrome; DIFFNOTES_CHROMIUM comes first. Raises FileNotFoundError that says how to get one."""
    candidates = [os.environ.get("DIFFNOTES_CHROMIUM", ""), *NAMES, *MAC]
    found = next((path for name in candidates if name and (path := shutil.which(name))), None)
    if found is None:
        raise FileNotFoundError(
            "these tests open the book in Chromium, and there is none: install it with `apt-get install chromium` "
            "(Debian) or `brew install --cask chromium` (macOS), or set DIFFNOTES_CHROMIUM to an installed Chrome"
        )
    return found


class Browser:
    """One browser with one page, without a network but for servers on this machine.

    `requests` and `errors` collect what the open page did.
    `blocked` are those of the requests that the page's own policy has stopped before anything was sent.
    """

    def __init__(self) -> None:
        self.profile = tempfile.mkdtemp(prefix="diffnotes-chromium-")
        inward, self._write = os.pipe()
        self._read, outward = os.pipe()
        # The pipe protocol fixes the descriptors 3 (commands) and 4 (answers), which only a shell can rename.
        shell = 'i=$1 o=$2; shift 2; eval "exec 5<&$i 6>&$o"; exec "$@" 3<&5 4>&6 5<&- 6>&-'
        command = [executable(), *FLAGS, f"--user-data-dir={self.profile}", "about:blank"]
        self.process = subprocess.Popen(
            ["bash", "-c", shell, "bash", str(inward), str(outward), *command],
            pass_fds=(inward, outward), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(inward)
        os.close(outward)
        self._buffer, self._number, self._session = b"", 0, None
        self._loaded = False
        self.requests: list[str] = []
        self.blocked: list[str] = []
        self._asked: dict[str, str] = {}
        self.errors: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=10)
        os.close(self._read)
        os.close(self._write)
        shutil.rmtree(self.profile, ignore_errors=True)

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._read, 1 << 20) if ready else b""
            if not chunk:
                raise RuntimeError(f"Chromium {'closed the connection' if ready else 'did not answer'}")
            self._buffer += chunk
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
            self._asked[params["requestId"]] = params["request"]["url"]
        elif method == "Network.loadingFailed" and params.get("blockedReason") == "csp":
            self.blocked.append(self._asked.get(params["requestId"], ""))
        elif method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol and its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + WAIT
        while (answer := self._receive(deadline)).get("id") != self._number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def open(self, url: str, *, formulas: bool = True) -> None:
        """Open `url` and wait until it has loaded and every formula is set; without `formulas` they stay as text."""
        self.send("Network.setBlockedURLs", urls=[] if formulas else ["*/mathjax/*"])
        for list_ in (self.requests, self.blocked, self.errors):
            list_.clear()
        self._loaded = False
        self.send("Page.navigate", url=url)
        deadline = time.monotonic() + WAIT
        while not self._loaded:
            self._note(self._receive(deadline))
        if formulas:
            self.run("window.MathJax?.startup?.promise.then(() => true) ?? true")

    def listen(self, seconds: float) -> None:
        """Note what the page does for so long, without a word to it: it may be on its way to another page."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if b"\0" in self._buffer or select.select([self._read], [], [], left)[0]:
                self._note(self._receive(deadline + WAIT))

    def run(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page; promises are awaited."""
        answer = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", str(answer)))
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key, by its name: "Enter", "Escape", "Tab", " "."""
        code = {"Enter": 13, "Escape": 27, "Tab": 9, " ": 32}[key]
        text = {"Enter": "\r", " ": " "}.get(key)
        known = {"key": key, "windowsVirtualKeyCode": code, **({"text": text} if text else {})}
        self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **known)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def view(self, *, dark: bool = False, width: int = 1280, height: int = 900) -> None:
        """Preferred colours and size of the window from now on."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=scheme)
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def screenshot(self, path: Path, *, longest: int = 6000) -> Path:
        """PNG of the page from its top, at most ``longest`` pixels of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = "section { content-visibility: visible !important }"  # what is out of sight, too
        self.run(f"document.head.append(Object.assign(document.createElement('style'), {{textContent: '{drawn}'}}))")
        width, height = self.run("[innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, longest), "scale": 1}
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        path.write_bytes(base64.b64decode(data))
        return path
