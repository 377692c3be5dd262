import hashlib
from pathlib import Path

import pytest
from handmade import write_asf, write_pts
from test_download import Server, serving, tar_gz

from common.system.errors import UserError
from datasets import catalog, download, ibug, imm, youtube_faces, yunet
from datasets.download import RemoteFile
from datasets.location import data_folder, find_root, not_found


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
    assert find_root(None, imm.FOLDER) == imm_folder.parent
    assert find_root(tmp_path / "elsewhere", imm.FOLDER) is None


def test_not_found_says_where_who_said_so_and_what_to_type(monkeypatch):
    monkeypatch.setenv("FACE_DATA", "/faces")
    assert not_found("imm", imm.FOLDER, None) == (
        f"imm: not found, looked for {Path('/faces/imm_face_db')} (FACE_DATA); "
        "fetch it with `python run_part.py data imm --download`"
    )
    assert '--data "/my faces"`' in not_found("imm", imm.FOLDER, Path("/my faces"))


def test_the_list_tells_what_is_there_and_what_is_not(imm_folder):
    for stem in ("01-1m", "32-6f", "33-1m"):
        write_asf(imm_folder, stem)
    (imm_folder / "33-1m.jpg").write_text("nothing is decoded")
    text = catalog.list_sets(imm_folder.parent)
    assert f"found in {imm_folder}" in text
    assert "train               2 of 192 faces" in text
    assert "validation          1 of 48 faces" in text
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


def test_an_unknown_set_is_told_with_those_that_are_known(tmp_path):
    with pytest.raises(UserError, match="lfw: no such data set; known are imm, ibug"):
        catalog.download("lfw", tmp_path)


def test_one_set_is_listed_alone_and_a_typing_error_is_told(imm_folder):
    write_asf(imm_folder, "01-1m")
    assert catalog.list_sets(imm_folder.parent, "imm").startswith("imm ")
    assert ibug.LICENCE not in catalog.list_sets(imm_folder.parent, "imm")
    with pytest.raises(UserError, match="imn: no such data set; known are imm, ibug"):
        catalog.list_sets(imm_folder.parent, "imn")


def test_a_set_that_is_there_is_not_fetched(imm_folder):
    text = catalog.download("imm", imm_folder.parent)
    assert text == f"imm: is at {imm_folder} already; nothing was fetched"


def archive_of(folder, place):
    return tar_gz([(f"{place}/{file.name}", file.read_bytes()) for file in folder.iterdir()])


@pytest.mark.parametrize("place", ["imm_face_db", "data/faces/imm"])
def test_real_imm_is_fetched_checked_and_listed(real_data, tmp_path, monkeypatch, place):
    server = Server({"/imm": archive_of(real_data / imm.FOLDER, place)})
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


def test_yunet_is_fetched_to_where_it_is_looked_for(tmp_path, monkeypatch):
    content = b"a small network"
    for server_has, expected in ((content, "found: "), (b"another", "SHA-256")):
        with serving(Server({"/yunet.onnx": server_has})) as server:
            sha256 = hashlib.sha256(content).hexdigest()
            remote = RemoteFile("yunet.onnx", f"{server.url}/yunet.onnx", sha256)
            monkeypatch.setattr(yunet, "FILE", remote)
            data = tmp_path / expected[:5]
            try:
                told = catalog.download("yunet", data)
            except UserError as fault:
                told = str(fault)
            assert expected in told
            there = [file.name for file in data.rglob("*") if file.is_file()]
            assert there == (["yunet.onnx"] if server_has == content else [])


def test_yunet_is_not_fetched_again(tmp_path):
    yunet.place(tmp_path).parent.mkdir()
    yunet.place(tmp_path).write_bytes(b"network")
    assert "already" in catalog.download("yunet", tmp_path)
    assert yunet.place(tmp_path).read_bytes() == b"network"


def test_another_mirror_of_a_single_file_must_have_the_same_content(tmp_path):
    content = b"a small network"
    files = {"/one": b"damaged", "/two": content}
    with serving(Server(files)) as server:
        remote = RemoteFile(
            "net.onnx",
            f"{server.url}/one",
            hashlib.sha256(content).hexdigest(),
            mirrors=(f"{server.url}/nothing", f"{server.url}/two"),
        )
        download.install_file(remote, tmp_path / "models" / "net.onnx")
    assert (tmp_path / "models" / "net.onnx").read_bytes() == content
    with pytest.raises(UserError, match="is there already"):
        download.install_file(remote, tmp_path / "models" / "net.onnx")


def test_the_real_file_of_yunet_is_the_one_that_is_expected(real_data):
    file = yunet.place(real_data)
    if not file.is_file():
        pytest.skip("YuNet's file is not here")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == yunet.FILE.sha256
