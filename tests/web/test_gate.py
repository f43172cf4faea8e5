"""Who may ask, and for what: nothing outside the folders is read, and hostile names are text."""

import io
import re
import stat
import zipfile

import numpy as np
import pytest
from starlette.testclient import TestClient

from condyle.app.web import server, uploads
from condyle.app.web.places import Places
from condyle.core import Grid, Volume
from condyle.io import write

PORT = 8765
CANARY = "canary-7c1f"
HTML = "<img src=x onerror=alert(1)>"


def scan(path, seed=0):
    array = np.random.default_rng(seed).integers(-900, 900, (9, 8, 7)).astype(np.int16)
    return write(Volume(array, Grid.regular(array.shape, (1, 1, 2)), "CT"), path)


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    scan(folder / "secret.nii.gz")
    for name in ("canary.txt", "canary.json", "canary.toml", "canary.csv"):
        (folder / name).write_text(CANARY)
    return folder


@pytest.fixture
def client(tmp_path, outside):
    """A browser that is logged in; its jobs are not started."""
    places = Places(tmp_path / "workspace")
    scan(places.workspace / "leg.nii.gz")
    app, gate = server.app_for(places, PORT)
    found = TestClient(app, base_url=f"http://127.0.0.1:{PORT}", raise_server_exceptions=False)
    assert found.get(f"/login?token={gate.token}", follow_redirects=False).status_code == 303
    found.gate, found.places = gate, places
    return found


def the_scan(client):
    (one,) = client.get("/api/catalogue").json()
    return one["id"]


def test_the_link_is_good_once_and_its_cookie_stays_on_this_machine(tmp_path):
    app, gate = server.app_for(Places(tmp_path), PORT)
    client = TestClient(app, base_url=f"http://127.0.0.1:{PORT}")
    for path in ("/", "/api/catalogue", "/api/jobs", "/static/page.js", "/login?token=wrong"):
        assert client.get(path).status_code == 401
    answer = client.get(f"/login?token={gate.token}", follow_redirects=False)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert client.get("/").status_code == 200
    assert client.get(f"/login?token={gate.token}").status_code == 401


def test_the_cookie_holds_when_the_server_starts_again(client, tmp_path):
    app, _ = server.app_for(Places(tmp_path / "workspace"), PORT)
    again = TestClient(app, base_url=f"http://127.0.0.1:{PORT}", cookies=dict(client.cookies))
    assert again.get("/").status_code == 200
    key = tmp_path / "workspace" / ".condyle" / "page" / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1", "127.0.0.1:80",
                                  "[::1]:8765", "0.0.0.0:8765", ""])  # fmt: skip
def test_other_hosts_are_refused(client, host):
    assert client.get("/", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("headers", [
    {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:9999"},
    {"Origin": "https://127.0.0.1.evil.example:8765"}, {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
])  # fmt: skip
def test_other_sites_cannot_make_it_do_anything(client, headers):
    for method, path in (("POST", "/api/jobs"), ("POST", "/api/uploads"), ("PUT", "/api/review/x")):
        assert client.request(method, path, json={}, headers=headers).status_code == 403
    assert client.get("/api/jobs").json() == []


def test_no_page_may_load_or_send_elsewhere(client):
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?:", policy)
    for path in ("/", "/data", "/train", "/segment", "/review", "/compare", "/features", "/runs",
                 "/jobs", "/look"):  # fmt: skip
        page = client.get(path)
        assert page.status_code == 200
        assert not re.search(r"(src|href)=\"(https?:)?//", page.text)
        assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|style=", page.text)


UP = ["..", "%2e%2e", "..%2f..", "%2e%2e%2f%2e%2e", "%252e%252e%252f", "..%5c..", "..%c0%af..",
      "....//", "%00", "..;/", "/etc", "%2fetc%2fpasswd", "C:%5C", "~root"]  # fmt: skip


@pytest.mark.parametrize("up", UP)
def test_no_path_leads_out(client, outside, up):
    one = the_scan(client)
    there = f"{up}/{outside}/canary.txt"
    for path in (f"/api/volumes/{there}.nii.gz", f"/api/slices/{there}.png", f"/static/{there}",
                 f"/api/files/{one}/{there}", f"/api/jobs/{there}/log", f"/runs/{there}",
                 f"/reports/{there}", f"/api/cases/{there}", f"/results/{there}",
                 f"/api/volumes/{one}.nii.gz?case={there}"):  # fmt: skip
        answer = client.get(path)
        assert CANARY not in answer.text
        assert answer.status_code in (400, 401, 404, 405, 422) or "?case=" in path
        assert "Traceback" not in answer.text


SETTINGS = [
    ("segment", {"run": "/etc", "scans": ["{out}/secret.nii.gz"], "out": "x"}),
    ("segment", {"run": "id:{id}", "scans": "../outside/secret.nii.gz", "out": "x"}),
    ("segment", {"run": "id:{id}", "scans": ["id:{id}"], "out": "../x"}),
    ("segment", {"run": "id:{id}", "scans": ["id:{id}"], "out": "{out}/x"}),
    ("segment", {"run": "id:{id}", "scans": ["id:{id}"], "out": ".condyle"}),
    ("segment", {"run": "id:{id}", "scans": ["id:{id}"], "out": "a\\b"}),
    ("segment", {"run": "id:{id}", "scans": ["id:{id}"], "out": "a\nb"}),
    ("segment", {"run": "id:{id}", "scans": ["id:{id}"], "out": "x", "on": "local:9"}),
    ("segment", {"run": "id:{id}", "scans": ["id:{id}"], "out": "x", "backends": {"a": "b"}}),
    ("import", {"scans": ["id:{id}"], "scheme": "{out}/canary.json", "out": "x"}),
    ("import", {"scans": ["id:{id}"], "patients": "{out}/canary.csv", "out": "x"}),
    ("import", {"scans": ["id:{id}"], "patients": "canary.csv", "out": "x"}),
    ("import", {"scans": ["id:{id}"], "rename": ["{out}/canary.csv"], "out": "x"}),
    ("train", {"dataset": "id:{id}", "config": "{out}/canary.toml", "out": "x"}),
    ("train", {"dataset": "id:{id}", "weights": "{out}/canary.txt", "out": "x"}),
    ("train", {"dataset": "id:{id}", "settings": {"dataset": "{out}"}, "out": "x"}),
    ("check", {"dataset": "id:{id}", "fix": "/tmp/fixed"}),
    ("import-weights", {"files": ["{out}/canary.txt"], "out": "x"}),
    ("serve", {"workspace": "{out}"}),
    ("no-such-verb", {}),
    ("__import__", {}),
]


@pytest.mark.parametrize(("verb", "settings"), SETTINGS)
def test_jobs_name_files_by_ids_alone_and_write_into_the_workspace(client, outside, verb, settings):
    one = the_scan(client)

    def filled(value):
        if isinstance(value, str):
            return value.replace("{id}", one).replace("{out}", str(outside))
        if isinstance(value, list):
            return [filled(each) for each in value]
        return {k: filled(v) for k, v in value.items()} if isinstance(value, dict) else value

    answer = client.post("/api/jobs", json={"verb": verb, "settings": filled(settings)})
    assert answer.status_code in (404, 422)
    assert answer.json()["sentence"]
    assert CANARY not in answer.text
    assert client.get("/api/jobs").json() == []


def test_links_out_of_the_folders_are_neither_shown_nor_followed(client, outside):
    (client.places.workspace / "link.nii.gz").symlink_to(outside / "secret.nii.gz")
    (client.places.workspace / "folder").symlink_to(outside)
    (one,) = client.get("/api/catalogue").json()
    assert one["name"] == "leg.nii.gz"
    path = client.places.path_of(one["id"])
    path.unlink()
    path.symlink_to(outside / "secret.nii.gz")  # swapped after it was shown
    assert client.get(f"/api/volumes/{one['id']}.nii.gz").status_code == 404


def zipped(*entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return out.getvalue()


def upload(client, name, body, whole="upload"):
    identity = client.post("/api/uploads", json={"name": whole}).json()["id"]
    put = client.put(f"/api/uploads/{identity}", params={"name": name}, content=body)
    return put if put.status_code != 200 else client.post(f"/api/uploads/{identity}/end")


def test_uploads_get_names_of_our_own(client, tmp_path):
    data = scan(tmp_path / "one.nii.gz").read_bytes()
    names = ["../../x.nii.gz", "/etc/x.nii.gz", "..\\x.nii.gz", ".bashrc.nii.gz", f"{HTML}.nii.gz",
             "a\nb.nii.gz", "con.nii.gz", ("x" * 300) + ".nii.gz", "\u202egnp.nii.gz"]  # fmt: skip
    for name in names:
        answer = upload(client, name, data, whole=f"../{HTML}\n")
        assert answer.status_code == 200, answer.text
    inside = [p for p in client.places.uploads.rglob("*") if p.is_file()]
    assert len(inside) == len(names)
    assert all(re.fullmatch(r"[\w-]+\.nii\.gz", path.name) for path in inside)
    every = {p for p in tmp_path.rglob("*.nii.gz") if "outside" not in p.parts}
    assert every == {*inside, tmp_path / "one.nii.gz", client.places.workspace / "leg.nii.gz"}


@pytest.mark.parametrize(("name", "body"), [
    ("a.zip", zipped(("../../up.txt", b"x"))), ("a.zip", zipped(("/etc/up.txt", b"x"))),
    ("a.zip", zipped(("C:\\up.txt", b"x"))), ("a.zip", b"PK\x03\x04 broken"), ("a.zip", b""),
    ("a.zip", zipped(("note.txt", b"no scan"))), ("a.nii.gz", b"\x1f\x8b broken"[:0]),
    ("a.txt", b"hello"), ("a.html", b"<script>alert(1)</script>"),
])  # fmt: skip
def test_uploads_that_are_no_scans_leave_nothing(client, name, body):
    answer = upload(client, name, body)
    if answer.status_code == 200:  # an empty .nii.gz is shown, and says what it is when opened
        (one,) = answer.json()
        assert client.get(f"/api/volumes/{one['id']}.nii.gz").status_code == 422
        return
    assert answer.status_code == 422
    assert "Traceback" not in answer.text
    assert not [p for p in client.places.uploads.rglob("*") if p.is_file()]


def test_a_zip_of_files_becomes_a_folder_of_them(client, tmp_path):
    data = scan(tmp_path / "one.nii.gz").read_bytes()
    answer = upload(client, "legs.zip", zipped(("a/one.nii.gz", data), ("b/two.nii.gz", data)))
    assert sorted(one["name"] for one in answer.json()) == ["one.nii.gz", "two.nii.gz"]
    for one in answer.json():
        assert client.get(f"/api/volumes/{one['id']}.nii.gz").status_code == 200


def test_uploads_have_limits(client, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_BYTES", 10_000)
    assert upload(client, "a.nii.gz", bytes(20_000)).status_code == 422
    monkeypatch.setattr(uploads, "UNPACKED", 10_000)
    bomb = zipped(("a.dcm", bytes(1_000_000)))
    assert len(bomb) < 10_000
    answer = upload(client, "a.zip", bomb)
    assert answer.status_code == 422
    assert "inflates" in answer.json()["sentence"]
    monkeypatch.setattr(uploads, "MOST_FILES", 0)
    assert upload(client, "a.nii.gz", b"x").status_code == 422
    assert not [p for p in client.places.uploads.rglob("*") if p.is_file()]


def test_hostile_names_are_text(client):
    scan(client.places.workspace / f"{HTML[:4]}b onload=alert(1)>.nii.gz")
    names = [one["name"] for one in client.get("/api/catalogue").json()]
    assert len(names) == 2
    answer = client.get(f"/jobs/{HTML}")
    assert answer.status_code == 404
    assert HTML not in answer.text
    wrong = client.post("/api/jobs", json={"verb": HTML, "settings": {}})
    assert "application/json" in wrong.headers["content-type"]
    assert wrong.headers["x-content-type-options"] == "nosniff"


def test_reports_run_apart(client):
    folder = client.places.workspace / "results" / "r"
    folder.mkdir(parents=True)
    (folder / "manifest.jsonl").write_text("")
    (folder / "labels.json").write_text("{}")
    (folder / "report.html").write_text("<script>fetch('/api/jobs')</script>")
    (one,) = [e for e in client.get("/api/catalogue").json() if e["kind"] == "labels"]
    answer = client.get(f"/reports/{one['id']}")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("sandbox allow-scripts")
    assert "connect-src" not in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b'"x"', b"null", b'{"verb": 1}', b'{"verb": "segment", "settings": []}',
    b"\xff\xfe", b'{"verb": "segment", "settings": {"run": {"a": 1}}}',
    b'{"verb": "train", "settings": {"epochs": "many", "out": "x"}}',
])  # fmt: skip
def test_broken_requests_get_a_sentence(client, body):
    answer = client.post("/api/jobs", content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert answer.json()["sentence"]
