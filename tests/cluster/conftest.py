"""The test cluster, for the tests that several machines take."""

import os

import pytest

from deploy.test_cluster.cluster import Cluster
from tests.containers import NODES, Seat, mend, project


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """Return the cluster that `make test-cluster` has brought up."""
    found = Cluster(os.environ["PENSTOCK_TEST_CLUSTER"])
    mend(found, *NODES)  # a test that failed may have left one cut off
    return found


@pytest.fixture
def alice(cluster: Cluster) -> Seat:
    """A new project of alice's, at the first login node."""
    return project(cluster)
