"""Which resources of a pod are a fast network between nodes."""

import pytest

from tests.unit.cell.worlds import config


@pytest.mark.parametrize(
    ("names", "fabric"),
    [
        ((), ()),
        (("hugepages-2Mi", "hugepages-1Gi"), ()),
        (("rdma/hca_shared_devices_a",), ("rdma/hca_shared_devices_a",)),
        (("vpc.amazonaws.com/efa", "hugepages-2Mi"), ("vpc.amazonaws.com/efa",)),
        (
            ("openshift.io/mlnx_b", "networking.gke.io.networks/rdma-0"),
            ("networking.gke.io.networks/rdma-0", "openshift.io/mlnx_b"),
        ),
    ],
)
def test_all_but_memory_is_a_network(names: tuple[str, ...], fabric: tuple[str, ...]) -> None:
    assert config(extra_resources=names).fabric == fabric
