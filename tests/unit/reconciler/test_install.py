"""The runner's zip: the same bytes from the same sources, put once."""

import zipfile
from pathlib import Path

from penstock.reconciler import install
from penstock.transport.local import LocalTransport


class Counting(LocalTransport):
    puts = 0

    def put(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        self.puts += 1
        super().put(path, data, mode=mode)


def test_zip_is_the_same_whenever_it_is_built() -> None:
    first = install.build()
    install.build.cache_clear()
    assert install.build() == first


def test_zip_is_put_once_and_named_by_its_digest(tmp_path: Path) -> None:
    transport = Counting()
    path = install.install(transport, tmp_path)
    assert install.install(transport, str(tmp_path)) == path
    assert transport.puts == 1
    assert Path(path).name == f"runner-{install.build()[0]}.zip"
    assert Path(path).read_bytes() == install.build()[1]


def test_zip_that_was_cut_off_is_put_again(tmp_path: Path) -> None:
    transport = Counting()
    path = Path(install.install(transport, tmp_path))
    path.write_bytes(path.read_bytes()[:100])
    install.install(transport, tmp_path)
    assert path.read_bytes() == install.build()[1]


def test_zip_holds_what_compute_nodes_need_and_no_more(tmp_path: Path) -> None:
    with zipfile.ZipFile(install.install(LocalTransport(), tmp_path)) as archive:
        names = archive.namelist()
        assert {info.date_time[0] for info in archive.infolist()} == {1980}
    assert names == sorted(names)
    assert {name.split("/")[1] for name in names if "/" in name} == {
        "__init__.py", "failpoint.py", "runner", "tracking", "wire",
    }  # fmt: skip
