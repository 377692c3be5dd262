import hashlib
from pathlib import Path

import pytest
from handmade import write_asf, write_pts
from test_download import Server, serving, tar_gz

from common.system.errors import UserError
from datasets import catalog, download, ibug, imm, youtube_faces, yunet
from datasets.download import RemoteFile
from datasets.location import data_folder, find_folder, not_found


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv("FACE_DATA", raising=False)
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0)


def test_data_lies_where_the_option_says_else_the_environment_else_beside_the_code(monkeypatch):
    beside = Path(imm.__file__).parent / "files"
    assert data_folder(None) == (beside, "the default")
    monkeypatch.setenv("FACE_DATA", "")
    assert data_folder(None) == (beside, "the default")
    monkeypatch.setenv("FACE_DATA", "/faces")
    assert data_folder(None) == (Path("/faces"), "FACE_DATA")
    assert data_folder(Path("/mine")) == (Path("/mine"), "--data")
    assert data_folder(Path("~/mine"))[0] == Path.home() / "mine"


def test_the_option_does_not_fall_back_to_the_environment(imm_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("FACE_DATA", str(imm_folder.parent))
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
    text = catalog.list_sets(imm_folder.parent)
    assert f"found in {imm_folder}" in text
    assert "train               2 of 192 faces" in text
    assert "test                1 of 48 faces" in text
    assert f"not found in {imm_folder.parent / ibug.FOLDER}" in text
    assert "data ibug --download" in text and "data imm --download" not in text
    assert imm.LICENCE in text and ibug.LICENCE in text


def test_a_set_of_which_half_is_missing_does_not_hide_the_others(imm_folder):
    write_asf(imm_folder, "01-1m")
    frames = imm_folder.parent / youtube_faces.FOLDER
    frames.mkdir()
    (frames / "training_frames_keypoints.csv").write_text("")
    text = catalog.list_sets(imm_folder.parent)
    assert "error: " in text and "test_frames_keypoints.csv" in text
    assert "train               1 of 192 faces" in text and "yunet" in text


def test_the_list_counts_every_folder_of_300w(ibug_folder):
    for name in ("afw/a.pts", "afw/b.PTS", "afw/a_mirror.pts", "lfpw/testset/c.pts"):
        write_pts(ibug_folder / name)
    lines = catalog.list_sets(ibug_folder.parent).splitlines()
    found = {line.split()[0]: line.split()[1:4] for line in lines if line.endswith("faces")}
    assert found["train"] == ["2", "of", "3148"]
    assert found["test"] == ["1", "of", "689"]
    assert found["ibug"] == ["0", "of", "135"]


def test_an_unknown_set_is_an_error_that_names_the_known_ones(tmp_path):
    for call in (catalog.download, lambda name, data: catalog.list_sets(data, name)):
        with pytest.raises(UserError, match="lfw: no such data set; known are imm, ibug"):
            call("lfw", tmp_path)


def test_one_set_is_listed_alone(imm_folder):
    write_asf(imm_folder, "01-1m")
    assert catalog.list_sets(imm_folder.parent, "imm").startswith("imm ")
    assert ibug.LICENCE not in catalog.list_sets(imm_folder.parent, "imm")


def test_an_existing_set_is_not_fetched(imm_folder):
    text = catalog.download("imm", imm_folder.parent)
    assert text == f"imm: is at {imm_folder} already; nothing was fetched"


def archive_of(folder, place):
    return tar_gz([(f"{place}/{file.name}", file.read_bytes()) for file in folder.iterdir()])


@pytest.mark.slow
def test_real_imm_is_fetched_checked_and_listed(real_data, tmp_path, monkeypatch):
    server = Server({"/imm": archive_of(real_data / imm.FOLDER, "data/faces/imm")})
    server.cuts = [1_000_000, 3_000_000]
    with serving(server):
        remote = download.RemoteFile("imm.tar.gz", f"{server.url}/imm")
        monkeypatch.setattr(imm, "ARCHIVE", remote)
        text = catalog.download("imm", tmp_path)
    assert len(server.requests) == 3
    assert text.startswith("imm ") and "192 of 192" in text
    assert [path.name for path in tmp_path.iterdir()] == [imm.FOLDER]
    assert len(imm.load(tmp_path)) == 240


def test_a_warning_comes_first(tmp_path, imm_folder, monkeypatch):
    write_asf(imm_folder, "01-1m")
    sums = tmp_path / "sums.txt"
    sums.write_text(f"{'0' * 64}  01-1m.asf\n{'0' * 64}  01-1m.jpg\n")
    monkeypatch.setattr(imm, "SHA256_SUMS", sums)
    server = Server({"/imm": archive_of(imm_folder, "imm_face_db")})
    with serving(server):
        monkeypatch.setattr(imm, "ARCHIVE", download.RemoteFile("a.tar.gz", f"{server.url}/imm"))
        text = catalog.download("imm", tmp_path / "new")
    assert text.startswith("imm: differs from the original: 01-1m.asf, 01-1m.jpg\nimm ")


def test_yunet_is_listed_with_its_licence_and_how_to_fetch_it(tmp_path):
    text = catalog.list_sets(tmp_path)
    file = tmp_path / "models" / "face_detection_yunet_2023mar.onnx"
    assert f"not found: {file}; fetch it: python run_part.py data yunet --download" in text
    assert yunet.LICENCE in text
    file.parent.mkdir()
    file.write_bytes(b"network")
    assert f"found: {file}" in catalog.list_sets(tmp_path)


def test_yunet_is_fetched_to_its_place_and_not_again(tmp_path, monkeypatch):
    with serving(Server({"/yunet.onnx": b"a small network"})) as server:
        sha256 = hashlib.sha256(b"a small network").hexdigest()
        remote = RemoteFile("yunet.onnx", f"{server.url}/yunet.onnx", sha256)
        monkeypatch.setattr(yunet, "FILE", remote)
        assert f"found: {yunet.place(tmp_path)}" in catalog.download("yunet", tmp_path)
        assert yunet.place(tmp_path).read_bytes() == b"a small network"
        assert "already" in catalog.download("yunet", tmp_path)
        assert len(server.requests) == 1


def test_another_mirror_of_a_single_file_must_have_the_same_content(tmp_path):
    content, file = b"a small network", tmp_path / "models" / "net.onnx"
    sha256 = hashlib.sha256(content).hexdigest()
    with serving(Server({"/one": b"damaged", "/two": content})) as server:
        mirrors = (f"{server.url}/nothing", f"{server.url}/two")
        download.install_file(RemoteFile("net.onnx", f"{server.url}/one", sha256, mirrors), file)
    assert file.read_bytes() == content


def test_the_real_file_of_yunet_is_the_expected_one(real_data):
    file = yunet.place(real_data)
    if not file.is_file():
        pytest.skip("YuNet's file is not here")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == yunet.FILE.sha256
