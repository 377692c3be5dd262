import pytest

from datasets import ibug, imm


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
