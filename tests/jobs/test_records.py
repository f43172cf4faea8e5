"""What is finished in a folder of results, and who may write into it."""

import subprocess
import sys
import threading

import pytest

from condyle.errors import ConfigError, OutputError
from condyle.jobs.records import OutputFolder, Record, content_hash, read_manifest


def done(folder, name="a.txt", made_of="1"):
    file = folder.path / name
    file.write_text(name)
    return folder.keep(Record(key=name, made_of=made_of, outputs=folder.hashes([file])))


def test_done_means_a_record_of_the_same_bytes_and_the_same_origin(tmp_path):
    folder = OutputFolder(tmp_path, "segment")
    assert folder.finished("a.txt", "1") is None
    record = done(folder)
    assert folder.finished("a.txt", "1") == record
    assert folder.finished("a.txt", "2") is None
    (tmp_path / "a.txt").write_text("other bytes")
    assert folder.finished("a.txt", "1") is None


def test_a_damaged_record_is_no_record(tmp_path):
    folder = OutputFolder(tmp_path, "segment")
    done(folder)
    for damage in ("", "{", "[]", '{"key": 3}', "\x00", "[" * 100_000):
        (folder.home / "records" / "a.txt.json").write_text(damage)
        assert folder.finished("a.txt", "1") is None


def test_resume_keeps_what_is_done_and_a_new_batch_nothing(tmp_path):
    folder = OutputFolder(tmp_path, "segment")
    with folder.opened({"a": 1}):
        done(folder)
        folder.keep(Record(key="b", state="failed", reason="it is broken"))
    with folder.opened({"a": 1}, resume=True):
        assert folder.record("a.txt") is not None
        assert folder.record("b") is None  # it is tried again
    with folder.opened({"a": 1}):
        assert folder.record("a.txt") is None


def test_resume_with_other_settings_names_them(tmp_path):
    folder = OutputFolder(tmp_path, "segment")
    with folder.opened({"planes": "axial", "flips": "none"}):
        done(folder)
    refused = pytest.raises(ConfigError, match=r"other settings \(planes\)")
    with refused, folder.opened({"planes": "all", "flips": "none"}, resume=True):
        pass


def test_two_may_write_the_same_results_and_not_others(tmp_path):
    one, other = (OutputFolder(tmp_path, "segment") for _ in range(2))
    with one.opened({"seed": 0}):
        with other.opened({"seed": 0}):
            claim = one.claim("a")
            assert claim is not None
            assert other.claim("a") is None
            claim.end()
        refused = pytest.raises(OutputError, match=r"another process .* other settings \(seed\)")
        with refused, other.opened({"seed": 1}):
            pass
        refused = pytest.raises(OutputError, match="another process")
        with refused, other.opened({"seed": 0}, alone=True):
            pass
    with other.opened({"seed": 1}):
        assert other.claim("a") is not None


def test_a_claim_of_another_thread_holds(tmp_path):
    folder, found = OutputFolder(tmp_path, "segment"), []
    claim = folder.claim("a")
    thread = threading.Thread(target=lambda: found.append(folder.claim("a")))
    thread.start()
    thread.join()
    assert found == [None]
    claim.end()


def test_a_task_that_killed_two_processes_is_hopeless(tmp_path):
    folder = OutputFolder(tmp_path, "segment")
    for tries in (0, 1):
        claim = folder.claim("a")
        assert not claim.is_hopeless
        assert claim.tries == tries
        claim.begin()
        claim.release()  # as when the process is killed
    assert folder.claim("a").is_hopeless


@pytest.mark.parametrize("place", [".", ".condyle/segment/records", ".condyle/segment/claims"])
def test_a_process_that_is_killed_while_it_writes_leaves_nothing_behind(tmp_path, place):
    """What took its place ends the batch, and clears up after it too."""
    folder = OutputFolder(tmp_path, "segment")
    code = (
        "import os, sys; from pathlib import Path; from condyle.jobs.outputs import atomic_write\n"
        "with atomic_write(Path(sys.argv[1]) / 'a.txt') as half:\n"
        "    half.write_text('half'); os.kill(os.getpid(), 9)"
    )
    with folder.opened({}):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / place)], check=False)
        (half,) = (tmp_path / place).glob(".writing-*")
        assert half.read_text() == "half"
        folder.keep(Record(key="a"))
    assert not half.exists()


def test_a_process_killed_after_its_record_leaves_no_trace_of_it(tmp_path):
    """A kill between the record and the end of the claim: what is done is not being tried."""
    folder = OutputFolder(tmp_path, "segment")
    with folder.opened({}):
        for name in ("whole", "open"):
            claim = folder.claim(name)
            claim.begin()
            claim.release()  # as the kernel does for the dead
        folder.keep(Record(key="whole"))
    assert [file.name for file in folder.home.glob("claims/*")] == ["open.tries"]


def test_failure_before_anything_is_done_leaves_no_folder(tmp_path):
    folder = OutputFolder(tmp_path / "new" / "out", "segment")
    with pytest.raises(ValueError, match="oops"), folder.opened({}):
        raise ValueError("oops")
    assert list(tmp_path.iterdir()) == []


def test_manifests_of_two_verbs_stand_together(tmp_path):
    for verb in ("segment", "mesh", "segment"):
        folder = OutputFolder(tmp_path, verb)
        folder.write_manifest([done(folder, f"{verb}.txt")])
    assert [row["verb"] for row in read_manifest(tmp_path)] == ["mesh", "segment"]
    with (tmp_path / "manifest.jsonl").open("a") as stream:
        stream.write('{"cut off')
    assert len(read_manifest(tmp_path)) == 2


def test_content_hash_sees_bytes_names_and_settings(tmp_path):
    folder = tmp_path / "dicom"
    folder.mkdir()
    (folder / "1.dcm").write_bytes(b"one")
    before = content_hash([folder], {"a": 1})
    assert content_hash([folder], {"a": 1}) == before
    assert content_hash([folder], {"a": 2}) != before
    (folder / "1.dcm").rename(folder / "2.dcm")
    assert content_hash([folder], {"a": 1}) != before
