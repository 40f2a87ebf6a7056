import shutil
from types import SimpleNamespace

import pytest

from connectors.room import MARGIN, require_room
from schemas.errors import StorageError


@pytest.fixture
def free(monkeypatch):
    def so_much(count):
        monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=count))

    return so_much


def test_enough_is_enough_to_the_byte(tmp_path, free):
    free(1000 + MARGIN)
    require_room({tmp_path: 1000})
    with pytest.raises(StorageError, match=r"67,109,865 bytes are needed in \S+, 67,109,864 are free"):
        require_room({tmp_path: 1001})


def test_folders_on_one_disk_share_it(tmp_path, free):
    free(1999 + MARGIN)
    (tmp_path / "ledger").mkdir()
    with pytest.raises(StorageError, match="not enough room") as full:
        require_room({tmp_path: 1000, tmp_path / "ledger": 1000})
    assert full.value.exit_code == 16
    assert "METERFEED_DATA_DIR" in full.value.cure


def test_a_folder_that_is_not_there_yet_counts_where_it_will_be(tmp_path, free):
    free(10 + MARGIN)
    require_room({tmp_path / "not" / "yet": 10})
    with pytest.raises(StorageError):
        require_room({tmp_path / "not" / "yet": 11})


def test_a_real_disk_is_asked(tmp_path):
    require_room({tmp_path: 0})
    with pytest.raises(StorageError):
        require_room({tmp_path: 1 << 60})
