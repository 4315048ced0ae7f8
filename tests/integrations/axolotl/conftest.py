import pytest

from .programs import PACKED, Workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("axolotl"))


@pytest.fixture(scope="session")
def stock(workshop):
    """The output folder of Axolotl's own run."""
    return workshop.run("stock")


@pytest.fixture(scope="session")
def packed_stock(workshop):
    """The output folder of Axolotl's own run with sample_packing."""
    return workshop.run("packed-stock", **PACKED)
