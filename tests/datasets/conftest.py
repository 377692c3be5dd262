import pytest
from bad_server import CONTENT, PATH, serving

from datasets import download, ibug, imm


@pytest.fixture
def imm_folder(tmp_path):
    folder = tmp_path / imm.FOLDER
    folder.mkdir()
    return folder


@pytest.fixture
def ibug_folder(tmp_path):
    folder = tmp_path / ibug.FOLDER
    folder.mkdir()
    return folder


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0)
    with serving({PATH: CONTENT}) as running:
        yield running
