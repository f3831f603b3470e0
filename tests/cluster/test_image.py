"""Commands in an image, with a real Apptainer."""

import pytest

from deploy.test_cluster.cluster import Cluster
from tests.containers import GOOD, STEADY, Seat

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


def test_command_runs_in_an_apptainer_image(alice: Seat, cluster: Cluster) -> None:
    """The image is made on a node from a folder with busybox: no network, no registry."""
    if cluster.debian != "trixie":
        pytest.skip("Apptainer of Debian's sid needs a newer glibc than bookworm's")
    there = alice.at(STEADY)
    there.shell(
        "set -e; mkdir -p tree/bin tree/etc tree/dev tree/proc tree/sys tree/tmp tree/var/tmp"
        " tree/root tree/home tree/scratch tree/shared; cp /bin/busybox tree/bin/;"
        " for name in sh cat echo ls test touch; do ln -s busybox tree/bin/$name; done;"
        " touch tree/etc/passwd tree/etc/group tree/etc/hosts tree/etc/resolv.conf"
        " tree/etc/localtime; echo of the image > tree/etc/mark;"
        " apptainer build image.sif tree 2>&1"
    )
    script = 'cat /etc/mark; test -e /usr/bin/python3 || echo "no python"; echo "$GREETING" > out'
    image = {"apptainer": "image.sif", "GREETING": "hello"}
    room = {"mem": "500M"}  # where no squashfuse is, Apptainer unpacks the image first
    alice.submit("inside", script, outputs=["out"], env=image, request=room)
    assert alice.states("inside") == [GOOD], alice("logs", "inside/1").stdout
    said = alice("logs", "inside/1").stdout.splitlines()
    assert "of the image" in said
    assert "no python" in said
    assert alice.read("runs/inside/1/out") == ["hello"]
