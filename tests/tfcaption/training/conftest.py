import pytest

from tests.support.trainers import SharedTrainers


@pytest.fixture(scope="package")
def shared_trainer():
    return SharedTrainers()
