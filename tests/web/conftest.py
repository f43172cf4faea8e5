"""A server of the page in a process of its own, and a browser that asks it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
)  # fmt: skip


@dataclass
class Server:
    """`condyle serve` on a free port, and what asks it as its own page would."""

    workspace: Path
    roots: tuple[Path, ...] = ()
    link: str = ""
    cookie: str = ""
    process: subprocess.Popen | None = None
    said: list[str] = field(default_factory=list)

    def start(self):
        command = [
            sys.executable,
            "-P",
            "-m",
            "condyle",
            "serve",
            str(self.workspace),
            "--port",
            "0",
        ]
        for root in self.roots:
            command += ["--roots", str(root)]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r"http://\S+", line):
                self.link = found[0]
                return self
        raise AssertionError(f"the server did not start: {self.said}")

    def stop(self, hard=False):
        self.process.send_signal(signal.SIGKILL if hard else signal.SIGINT)
        self.process.wait(20)
        self.process.stderr.close()

    @property
    def base(self):
        return self.link.partition("/login")[0]

    def login(self):
        opener = urllib.request.build_opener(_Stays)
        answer = opener.open(self.link)
        self.cookie = answer.headers["Set-Cookie"].partition(";")[0]
        return self

    def ask(self, path, body=None, method=None, headers=None):
        """(status, headers, body) of a request with the cookie; JSON is read."""
        data = json.dumps(body).encode() if isinstance(body, dict | list) else body
        request = urllib.request.Request(self.base + path, data, method=method)
        sent = {"Cookie": self.cookie, "Content-Type": "application/json"} | (headers or {})
        for name, value in sent.items():
            request.add_header(name, value)
        try:
            answer = urllib.request.build_opener(_Stays).open(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            text = answer.read()
        if "json" in answer.headers.get("content-type", ""):
            text = json.loads(text)
        return answer.status, answer.headers, text

    def found(self, kind, name=""):
        """The id of the one thing of a kind (and a name) that the page can choose."""
        (one,) = [
            thing for thing in self.ask(f"/api/catalogue?kind={kind}")[2]
            if not name or thing["name"] == name
        ]  # fmt: skip
        return one["id"]

    def add(self, verb, **settings):
        """The id of a new job."""
        status, _, found = self.ask("/api/jobs", {"verb": verb, "settings": settings})
        assert status == 201, found
        return found["id"]

    def state(self, job):
        return self.ask(f"/api/jobs/{job}")[2]["state"]

    def wait_for(self, job, *states, seconds=120):
        """The job, when it has come to one of these states."""
        end = time.monotonic() + seconds
        while (state := self.state(job)) not in states:
            assert time.monotonic() < end, (state, self.ask(f"/api/jobs/{job}/log")[2][-3000:])
            time.sleep(0.2)
        return self.ask(f"/api/jobs/{job}")[2]


class _Stays(urllib.request.HTTPRedirectHandler):
    """Does not follow."""

    def redirect_request(self, *_):
        return None

    def http_error_303(self, request, answer, code, message, headers):
        return answer


@pytest.fixture
def serve(tmp_path):
    """Starts servers over a workspace; all of them end with the test."""
    started = []

    def start(*roots, workspace=None, login=True):
        server = Server(workspace or tmp_path / "workspace", roots).start()
        started.append(server)
        return server.login() if login else server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.stop()
        for file in server.workspace.glob("jobs/*/process.json"):
            pid = json.loads(file.read_text())["pid"]
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def chromium():
    """A browser; tests that need it skip where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip("there is no chromium here")
    vendor = Path(__file__).parents[2] / "src/condyle/app/web/static/vendor/niivue.js"
    if not vendor.is_file():
        pytest.skip("NiiVue is not built here (make page, which needs Node)")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """An empty page that fails the test by errors of scripts and by requests to elsewhere."""
    context = chromium.new_context(viewport={"width": 1100, "height": 760})
    tab = context.new_page()
    errors = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda m: errors.append(m.text) if "Content Security" in m.text else None)
    tab.on("request", lambda r: errors.append(r.url) if not _is_ours(r.url) else None)
    tab.set_default_timeout(60_000)
    yield tab
    context.close()
    assert not errors


def _is_ours(url):
    return url.startswith(("http://127.0.0.1:", "data:", "blob:"))


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """The run folder of a network of random weights with a tibia and a femur; CT."""
    import torch

    from condyle.config import Preparation
    from condyle.core import LabelScheme
    from condyle.networks import build
    from condyle.predict import RecipePreprocessing, Segmenter

    folder = tmp_path_factory.mktemp("models") / "small"
    torch.manual_seed(0)
    network = build("unet-plain", 1, 3, "none")[0].eval()
    scheme = LabelScheme.of({"tibia": 1, "femur": 2})
    preparation = RecipePreprocessing(settings=Preparation(size=32))
    Segmenter("unet-plain", network, preparation, scheme).save(folder / "segmenter")
    return folder


@pytest.fixture
def data(tmp_path):
    """A data set of three coarse phantom legs, and a folder with two scans."""
    from condyle.io import write
    from condyle.phantom import leg, write_cohort

    folder = tmp_path / "lab"
    write_cohort(folder / "phantoms", 3)
    for seed in (7, 8):
        write(leg(seed, spacing=(8, 8, 24))[0], folder / "scans" / f"leg_{seed}.nii.gz")
    return folder
