import pytest

from tests.unit.chart.helm import Helm, real_helm


@pytest.fixture(scope="session")
def helm() -> Helm:
    return real_helm()
