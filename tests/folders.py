"""What lies in a folder, to be compared with what lies in another."""

from pathlib import Path


def contents(folder: Path) -> dict[str, bytes]:
    """Each file, hidden ones too, and its bytes; the locks of those who wrote are nobody's."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(Path(folder).rglob("*"))
        if file.is_file() and file.suffix != ".lock"
    }
