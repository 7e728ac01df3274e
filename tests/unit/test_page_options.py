"""How the page is served, as the environment says it."""

import pytest

from services.config import BadSetting
from services.stack.page import Options


@pytest.mark.parametrize(
    ("environ", "spend"),
    [
        ({}, True),
        ({"PASAR_PAGE_HOST": "::1"}, True),
        ({"PASAR_PAGE_HOST": "192.168.1.20"}, False),
        ({"PASAR_PAGE_HOST": "0.0.0.0"}, False),
        ({"PASAR_PAGE_HOSTS": "market.example.org"}, False),
        ({"PASAR_PAGE_HOSTS": "*"}, False),
        ({"PASAR_PAGE_HOSTS": "market.example.org", "PASAR_PAGE_SPEND": "1"}, True),
        ({"PASAR_PAGE_SPEND": "0"}, False),
    ],
)
def test_money_is_spent_only_where_nobody_else_comes_or_the_owner_says_so(environ: dict[str, str], spend: bool) -> None:
    options = Options.from_environment(environ)
    assert options.spend is spend
    assert Options.from_environment(options.environment) == options


@pytest.mark.parametrize(
    "environ", [{"PASAR_PAGE_HOST": "here"}, {"PASAR_PAGE_PORT": "65536"}, {"PASAR_PAGE_SPEND": "yes"}]
)
def test_value_that_cannot_be_used_is_named(environ: dict[str, str]) -> None:
    with pytest.raises(BadSetting, match=next(iter(environ))):
        Options.from_environment(environ)
