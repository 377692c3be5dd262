import pytest

from benchmarks import kills


@pytest.fixture
def prepared(tmp_path):
    kills.write_film(tmp_path / "film.mp4", kills.FRAMES)
    kills.write_film(tmp_path / "film.faces.mp4", kills.OLDER)
    (tmp_path / "film.jsonl").write_text("{}\n" * kills.OLDER)
    return tmp_path, {file.name: file.read_bytes() for file in tmp_path.iterdir()}


CHANGES = {
    "nothing": (lambda folder: None, []),
    "a new result": (
        lambda folder: (
            kills.write_film(folder / "film.faces.mp4", kills.FRAMES),
            (folder / "film.jsonl").write_text("{}\n" * kills.FRAMES),
        ),
        [],
    ),
    "half a result": (
        lambda folder: (folder / "film.jsonl").write_text("{}\n" * kills.FRAMES),
        [f"({kills.FRAMES}, {kills.OLDER}) frames"],
    ),
    "a lost film": (lambda folder: (folder / "film.mp4").unlink(), ["film.mp4 lost"]),
    "a film left": (lambda folder: (folder / "a.mp4").write_text(""), ["a.mp4 left"]),
    "a hidden file left": (lambda folder: (folder / ".a.mp4").write_text(""), [".a.mp4 left"]),
}


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES.keys())
def test_what_a_kill_leaves_is_named(prepared, change, expected):
    folder, before = prepared
    change(folder)
    assert kills.faults_of(folder, "predict", before, killed=False) == expected


def test_after_sigkill_hidden_files_are_no_fault(prepared):
    folder, before = prepared
    (folder / ".film.faces.mp4.1-2.tmp.mp4").write_bytes(b"half a film")
    assert kills.faults_of(folder, "predict", before, killed=True) == []
