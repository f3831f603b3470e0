"""The test cluster, for the tests that several machines take."""

import os

import pytest

from deploy.test_cluster.cluster import Cluster
from tests.containers import Seat, project


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """Return the cluster that `make test-cluster` has brought up."""
    return Cluster(os.environ["PENSTOCK_TEST_CLUSTER"])


@pytest.fixture
def alice(cluster: Cluster) -> Seat:
    """A new project of alice's, at the first login node."""
    return project(cluster)
