import pytest

from .programs import STOCK, Workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("llamafactory"))


@pytest.fixture(scope="session")
def stock(workshop):
    """The output folder of LLaMA-Factory's own run."""
    return workshop.run(STOCK, "stock")
