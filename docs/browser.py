"""A page in headless Chromium: what it says, what it asks for, how wide it is, how it looks.

Chromium is driven by its own protocol over two pipes (`--remote-debugging-pipe`), so nothing but
Chromium itself is needed. Used by `screenshot.py` and by the tests of the report.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = (
    "a Chromium browser is needed and none is installed; "
    "install one (apt-get install chromium) or name it in QCORE_CHROMIUM"
)


def find() -> str | None:
    """The program to start: QCORE_CHROMIUM, else the first of NAMES that is installed."""
    named = os.environ.get("QCORE_CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass
class Seen:
    """said: errors and warnings on the console.  asked: addresses of requests, the page's own
    file and data: addresses left out.  overflow: elements that stand out of the page to the right.
    """

    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    overflow: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        return [
            *(f"console: {x}" for x in self.said),
            *(f"request: {x}" for x in self.asked),
            *(f"too wide: {x}" for x in self.overflow),
        ]


class Page:
    """One page of a browser that `open_page` started."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._rest, self._number, self._session = b"", 0, ""
        self.seen = Seen()

    def call(self, method: str, limit: float = 30.0, **parameters: Any) -> dict[str, Any]:
        """Ask Chromium something and wait for the answer. Raises RuntimeError, TimeoutError."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + limit
        while True:
            got = self._next(end, method)
            if got.get("id") == self._number:
                if "error" in got:
                    raise RuntimeError(f"{method}: {got['error'].get('message')}")
                return got.get("result", {})
            self._event(got)

    def _next(self, end: float, waiting: str) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._back], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError(f"Chromium did not answer {waiting} in time")
            part = os.read(self._back, 1 << 20)
            if not part:
                raise RuntimeError("Chromium ended")
            self._rest += part
        line, self._rest = self._rest.split(b"\0", 1)
        got: dict[str, Any] = json.loads(line)
        return got

    def _event(self, got: dict[str, Any]) -> None:
        p = got.get("params", {})
        match got.get("method"):
            case "Runtime.exceptionThrown":
                details = p["exceptionDetails"]
                what = details.get("exception", {}).get("description", details.get("text"))
                self.seen.said.append(str(what))
            case "Runtime.consoleAPICalled" if p["type"] in ("error", "warning", "assert"):
                words = (str(a.get("value", a.get("description", ""))) for a in p["args"])
                self.seen.said.append(" ".join(words))
            case "Log.entryAdded" if p["entry"]["level"] in ("error", "warning"):
                self.seen.said.append(p["entry"]["text"])
            case "Network.requestWillBeSent":
                url = p["request"]["url"]
                if not url.startswith(("data:", "blob:")) and p.get("type") != "Document":
                    self.seen.asked.append(url)

    def attach(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def run(self, script: str) -> Any:
        """The value of a script, awaited where it is a promise. Raises RuntimeError."""
        got = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in got:
            raise RuntimeError(str(got["exceptionDetails"]))
        return got["result"].get("value")

    def open(self, file: Path, width: int, dark: bool, height: int = 1000) -> Seen:
        """Open a file at a width in CSS pixels and wait until its charts stand."""
        self.seen = Seen()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=file.resolve().as_uri())
        self.settle()
        self.seen.overflow += self.run(_OVERFLOW)
        return self.seen

    def settle(self, limit: float = 30.0) -> None:
        """Wait until the page's script has run and the number of drawn charts stays the same."""
        end, last, same = time.monotonic() + limit, None, 0
        while same < 4:
            now = self.run(_STATE)
            same = same + 1 if now == last and now[0] else 0
            last = now
            if time.monotonic() > end:
                raise TimeoutError(f"the page was not ready in {limit:g} s; its state is {now}")
            time.sleep(0.08)

    def picture(self, whole: bool = True, height: int | None = None) -> bytes:
        """PNG of the page, or of its upper part."""
        clip: dict[str, Any] = {}
        if whole:
            box = self.run("[document.documentElement.clientWidth, document.body.scrollHeight]")
            tall = box[1] if height is None else min(height, box[1])
            clip = {"clip": {"x": 0, "y": 0, "width": box[0], "height": tall, "scale": 1}}
        got = self.call("Page.captureScreenshot", captureBeyondViewport=whole, **clip)
        return base64.b64decode(got["data"])


_STATE = """[
  document.documentElement?.dataset.ready === "true" && document.readyState === "complete",
  document.querySelectorAll(".chart svg").length, document.body?.scrollHeight ?? 0]"""

# What reaches beyond the right edge of the page, unless something around it scrolls or hides it.
_OVERFLOW = """(() => {
  const limit = document.documentElement.clientWidth;
  const inside = (e) => {
    for (let p = e.parentElement; p && p !== document.body; p = p.parentElement)
      if (["auto", "scroll", "hidden"].includes(getComputedStyle(p).overflowX)) return true;
    return false;
  };
  const found = [];
  for (const e of document.body.querySelectorAll("*")) {
    const box = e.getBoundingClientRect();
    const out = box.width && box.right > limit + 1 && getComputedStyle(e).position !== "absolute";
    const name = `${e.tagName.toLowerCase()}.${e.getAttribute("class") ?? ""}`;
    if (out && !inside(e)) found.push(`${name} ends at ${Math.round(box.right)} of ${limit}`);
  }
  if (document.documentElement.scrollWidth > limit)
    found.push(`the page is ${document.documentElement.scrollWidth} wide in ${limit}`);
  return found.slice(0, 5);
})()"""


@contextlib.contextmanager
def open_page(program: str) -> Iterator[Page]:
    """A page of a browser that is started for it and ended with it; it has no network."""
    into, to = os.pipe()
    back, out = os.pipe()

    def wire() -> None:  # the protocol's places: it reads from 3 and writes to 4
        high_in, high_out = os.dup(into), os.dup(out)
        os.dup2(high_in, 3)
        os.dup2(high_out, 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                program, "--headless=new", "--remote-debugging-pipe", "--no-sandbox",
                "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
                "--disable-background-networking", "--disable-component-update",
                "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=wire, close_fds=False, start_new_session=True,
        )  # fmt: skip
        os.close(into)
        os.close(out)
        try:
            page = Page(to, back)
            page.attach()
            yield page
        finally:
            os.close(to)
            os.close(back)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()
