import pytest

from .programs import Workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("swift"))


@pytest.fixture(scope="session")
def stock(workshop):
    """The output folder of ms-swift's own run."""
    return workshop.run("stock")
