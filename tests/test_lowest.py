"""The lowest versions that pyproject.toml promises, as `make test-lowest` installs them."""

import lowest
import pytest

PROJECT = {
    "dependencies": ["numpy>=2.0"],
    "optional-dependencies": {"cpu": ["onnxruntime>=1.26,<2"], "dev": ["pytest>=8.3", "ruff"]},
}


def test_what_users_get_is_as_low_as_promised_and_tools_are_as_pinned():
    pins = {"numpy": "2.4.6", "pytest": "9.2.0", "ruff": "0.17.6"}
    assert lowest.lowest(PROJECT, pins) == {
        "numpy": "2.0",
        "onnxruntime": "1.26",
        "pytest": "9.2.0",
        "ruff": "0.17.6",
    }


@pytest.mark.parametrize("requirement", ["numpy", "numpy<3,>=2.0", "numpy==2.0"])
def test_a_requirement_that_promises_no_lowest_version_is_refused(requirement):
    with pytest.raises(ValueError, match="lowest version first"):
        lowest.floor(requirement)
