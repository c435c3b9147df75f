"""Numbers of more digits than Python reads at once, in the headers, queries and bodies of every API."""

from typing import Any

import pytest

from tests.api.service_cloud import Api, api

__all__ = ["api"]

ENDLESS = "9" * 5000
SECURITY_RULE = {"security_group_rule": {"security_group_id": "x", "direction": "ingress", "protocol": ENDLESS}}


@pytest.mark.parametrize(
    ("who", "request_line", "headers", "body", "status"),
    [
        ("admin", "GET /placement/usages?project_id=x", {"openstack-api-version": f"placement 1.{ENDLESS}"}, None, 406),
        ("admin", "GET /volume/v3/types", {"openstack-api-version": f"volume 3.{ENDLESS}"}, None, 400),
        ("admin", f"GET /placement/allocation_candidates?resources=VCPU:{ENDLESS}", {}, None, 400),
        ("admin", f"GET /placement/allocation_candidates?resources=VCPU:1&limit={ENDLESS}", {}, None, 200),
        ("demo", f"GET /network/v2.0/networks?limit={ENDLESS}", {}, None, 200),
        ("demo", f"GET /image/v2/images?limit={ENDLESS}&size_min={ENDLESS}", {}, None, 200),
        ("demo", f"GET /volume/v3/volumes?limit={ENDLESS}", {}, None, 400),
        ("demo", "POST /network/v2.0/security-group-rules", {}, SECURITY_RULE, 400),
        ("admin", "PUT /volume/v3/os-quota-sets/x", {}, {"quota_set": {"volumes": ENDLESS}}, 400),
        ("admin", "PUT /volume/v3/os-quota-sets/x", {}, {"quota_set": {"volumes": "--5"}}, 400),
    ],
)
async def test_a_number_without_end_is_answered_as_one_that_is_too_large(
    api: Api, who: str, request_line: str, headers: dict[str, str], body: Any, status: int
) -> None:
    await api.sign_in(who)
    newest = {"openstack-api-version": "placement 1.39"} if "/placement/" in request_line else {}
    answer = await api.ask(who, request_line, body, headers=newest | headers)
    assert answer.status_code == status, answer.text
