import hashlib
import re
from pathlib import Path

import pytest
from bad_server import CONTENT, PATH, serve, tar_gz
from handmade import write_asf, write_pts

from datasets import catalog, ibug, imm, youtube_faces, yunet
from datasets.download import RemoteFile
from datasets.location import data_folder, find_folder, not_found


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv("FACE_DATA", raising=False)


def test_data_lies_by_option_or_environment_or_beside_the_code(imm_folder, tmp_path, monkeypatch):
    beside = Path(imm.__file__).parent / "files"
    assert data_folder(None) == (beside, "the default")
    monkeypatch.setenv("FACE_DATA", "")
    assert data_folder(None) == (beside, "the default")
    assert data_folder(Path("~/mine")) == (Path.home() / "mine", "--data")
    monkeypatch.setenv("FACE_DATA", str(tmp_path))
    assert data_folder(None) == (tmp_path, "FACE_DATA")
    assert find_folder(None, imm.FOLDER) == imm_folder
    assert find_folder(tmp_path / "elsewhere", imm.FOLDER) is None


def test_not_found_says_where_who_said_so_and_what_to_type(monkeypatch):
    monkeypatch.setenv("FACE_DATA", "/faces")
    assert not_found("imm", imm.FOLDER, None) == (
        f"imm: not found, looked for {Path('/faces/imm_face_db')} (FACE_DATA); "
        "fetch it with `python run_part.py data imm --download`"
    )
    assert '--data "/my faces"`' in not_found("imm", imm.FOLDER, Path("/my faces"))


def test_the_list_shows_what_is_there_and_what_is_not(imm_folder):
    for stem in ("01-1m", "32-6f", "33-1m"):
        write_asf(imm_folder, stem)
    (imm_folder / "33-1m.jpg").write_text("nothing is decoded")
    frames = imm_folder.parent / youtube_faces.FOLDER  # half of it does not hide the others
    frames.mkdir()
    (frames / "training_frames_keypoints.csv").write_text("")
    text = catalog.list_sets(imm_folder.parent)
    alone = catalog.list_sets(imm_folder.parent, "imm")
    assert alone.startswith("imm ") and alone in text and ibug.LICENCE not in alone
    assert f"found in {imm_folder}" in alone and imm.LICENCE in alone
    assert re.search(r"train +2 of 192 faces\n.*test +1 of 48 faces", alone)
    assert f"not found in {imm_folder.parent / ibug.FOLDER}" in text
    assert "data ibug --download" in text and "data imm --download" not in text
    assert "error: " in text and "test_frames_keypoints.csv" in text


def test_the_list_counts_every_folder_of_300w(ibug_folder):
    for name in ("afw/a.pts", "afw/b.PTS", "afw/a_mirror.pts", "lfpw/testset/c.pts"):
        write_pts(ibug_folder / name)
    lines = catalog.list_sets(ibug_folder.parent).splitlines()
    found = {line.split()[0]: line.split()[1:4] for line in lines if line.endswith("faces")}
    assert found["train"] == ["2", "of", "3148"]
    assert found["test"] == ["1", "of", "689"]
    assert found["ibug"] == ["0", "of", "135"]


def test_a_set_is_fetched_with_its_warnings_and_once(server, tmp_path, imm_folder, monkeypatch):
    write_asf(imm_folder, "01-1m")
    sums = tmp_path / "sums.txt"
    sums.write_text(f"{'0' * 64}  01-1m.asf\n{'0' * 64}  01-1m.jpg\n")
    files = [(f"data/faces/imm/{file.name}", file.read_bytes()) for file in imm_folder.iterdir()]
    monkeypatch.setattr(imm, "SHA256_SUMS", sums)
    monkeypatch.setattr(imm, "ARCHIVE", serve(server, tar_gz(files)))
    text = catalog.download("imm", tmp_path / "new")
    assert text.startswith("imm: differs from the original: 01-1m.asf, 01-1m.jpg\nimm ")
    text = catalog.download("imm", tmp_path / "new")
    assert text == f"imm: is at {tmp_path / 'new' / imm.FOLDER} already; nothing was fetched"
    assert len(server.requests) == 1


def test_yunet_is_listed_and_fetched_once_from_a_good_address(server, tmp_path, monkeypatch):
    file = tmp_path / "models" / yunet.FILE.name
    text = catalog.list_sets(tmp_path)
    assert f"not found: {file}; fetch it: python run_part.py data yunet --download" in text
    assert yunet.LICENCE in text
    server.files |= {"/damaged": b"damaged"}
    damaged, gone, good = (f"{server.url}{path}" for path in ("/damaged", "/gone", PATH))
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    monkeypatch.setattr(yunet, "FILE", RemoteFile(file.name, damaged, sha256, (gone, good)))
    assert f"found: {file}" in catalog.download("yunet", tmp_path)
    assert yunet.place(tmp_path) == file and file.read_bytes() == CONTENT
    server.requests.clear()
    assert "already" in catalog.download("yunet", tmp_path) and server.requests == []


def test_the_real_file_of_yunet_is_the_expected_one(real_data):
    file = yunet.place(real_data)
    if not file.is_file():
        pytest.skip("YuNet's file is not here")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == yunet.FILE.sha256
