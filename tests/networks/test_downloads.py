"""Downloads by the real clients from a server on this machine: whole and right, or not at all."""

import hashlib
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import timm
import torch
from safetensors.torch import save_file

from condyle.errors import WeightsError
from condyle.networks.encoders import TimmEncoder
from condyle.networks.weights import locate as module
from condyle.networks.weights.load import load_into, read_state
from condyle.networks.weights.locate import WEIGHTS, locate

pytestmark = pytest.mark.filterwarnings(  # the clients leave a connection to the collector
    "ignore::pytest.PytestUnraisableExceptionWarning"
)

HUB = "timm/test.in1k"


class Server:
    """Serves bytes by path; `cut` sends half of them and then no more, `missing` says 404."""

    def __init__(self):
        self.files, self.asked, self.trouble = {}, [], ""
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.answer(body=False)

            def do_GET(self):
                self.answer(body=True)

            def answer(self, body):
                owner.asked.append(f"{self.command} {self.path}")
                content = owner.files.get(self.path)
                if content is None or owner.trouble == "missing":
                    self.send_error(404)
                    return
                start = int(self.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
                self.send_response(206 if start else 200)
                if start:
                    whole = len(content)
                    self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
                content, half = content[start:], 0 if start else len(content) // 2
                self.send_header("Content-Length", str(len(content)))
                self.send_header("X-Repo-Commit", "a" * 40)
                self.send_header("ETag", f'"{owner.etag}"')
                self.end_headers()
                if body:
                    self.wfile.write(content[:half] if owner.trouble == "cut" else content)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server, empty caches, and tables that point to both."""
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    found = Server()
    monkeypatch.setattr(module, "TORCHVISION", found.url)
    monkeypatch.setattr(module, "HUB", found.url)
    yield found
    found.http.shutdown()
    found.http.server_close()


@pytest.fixture
def torchvision_file(server, tmp_path, monkeypatch):
    """A real state dict whose name carries its hash, as mobilenetv2's in the table."""
    path = tmp_path / "file.pth"
    torch.save(timm.create_model("mobilenetv2_100").state_dict(), path)
    content = path.read_bytes()
    server.etag = hashlib.sha256(content).hexdigest()
    name = f"mobilenetv2-{server.etag[:8]}.pth"
    server.files[f"/{name}"] = content
    source = replace(WEIGHTS["mobilenetv2"], files=(name,), hub="")
    monkeypatch.setitem(WEIGHTS, "mobilenetv2", source)
    return name


@pytest.fixture
def hub_file(server, tmp_path, monkeypatch):
    """The same on the hub, which names files in its cache by their hash."""
    path = tmp_path / "model.safetensors"
    save_file(timm.create_model("mobilenetv2_100").state_dict(), path)
    content = path.read_bytes()
    server.etag = hashlib.sha256(content).hexdigest()
    server.files[f"/{HUB}/resolve/main/model.safetensors"] = content
    monkeypatch.setitem(WEIGHTS, "mobilenetv2", replace(WEIGHTS["mobilenetv2"], files=(), hub=HUB))


def cached(folder):
    """The files of a cache but for locks and marks."""
    return [p for p in folder.rglob("*") if p.is_file() and p.suffix in {".pth", ".safetensors", ""}
            and not {".locks", "refs", ".no_exist"} & set(p.parts)]  # fmt: skip


def test_torchvisions_file_is_downloaded_once_and_then_found(server, torchvision_file, tmp_path):
    found = locate("mobilenetv2")
    assert (found.origin, found.path.name) == ("download", torchvision_file)
    load_into(TimmEncoder("mobilenetv2"), read_state(found.path), found.path)
    assert locate("mobilenetv2").origin == "torchvision's cache"
    assert server.asked == [f"GET /{torchvision_file}"]
    assert cached(tmp_path / "torch") == [found.path]


def test_the_hubs_file_is_downloaded_once_and_then_found(server, hub_file, tmp_path):
    found = locate("mobilenetv2")
    assert found.origin == "download"
    load_into(TimmEncoder("mobilenetv2"), read_state(found.path), found.path)
    assert locate("mobilenetv2", download=False).origin == "the hub's cache"


@pytest.mark.parametrize("trouble", ["wrong", "cut", "missing"])
@pytest.mark.parametrize("kind", ["torchvision_file", "hub_file"])
def test_a_download_that_fails_says_why_and_leaves_nothing(
    server, trouble, kind, request, tmp_path, monkeypatch
):
    request.getfixturevalue(kind)
    monkeypatch.setattr("time.sleep", lambda _: None)  # the hub's client waits between its trials
    if trouble == "wrong":
        server.files = {path: content[:-1] + b"?" for path, content in server.files.items()}
    server.trouble = trouble
    with pytest.raises(WeightsError) as caught:
        locate("mobilenetv2")
    damaged = "SHA-256 should begin" if kind == "hub_file" else "invalid hash value"
    cut = "closed connection" if kind == "hub_file" else damaged
    words = {"wrong": damaged, "cut": cut, "missing": "404"}
    assert words[trouble] in str(caught.value)
    assert "the download of" in str(caught.value)
    assert "`weights` none" in str(caught.value)
    assert cached(tmp_path / "torch") + cached(tmp_path / "hub") == []
    with pytest.raises(WeightsError):
        locate("mobilenetv2", download=False)


def test_a_damaged_file_in_the_hubs_cache_is_refused(server, hub_file):
    path = locate("mobilenetv2").path.resolve()
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(WeightsError, match=r"is damaged: its SHA-256 should begin with"):
        locate("mobilenetv2", download=False)


def test_a_file_of_the_cache_comes_before_a_download_and_a_given_one_before_both(
    server, torchvision_file, tmp_path
):
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / torchvision_file).write_bytes(server.files[f"/{torchvision_file}"])
    assert locate("mobilenetv2").origin == "torchvision's cache"
    assert locate("mobilenetv2", str(folder / torchvision_file)).origin == "given"
    assert server.asked == []
