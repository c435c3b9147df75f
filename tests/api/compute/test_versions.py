"""Clients find out which versions there are, and get the one they ask for."""

import pytest

from .compute_cloud import ComputeApi

STANDARD = "openstack-api-version"
LEGACY = "x-openstack-nova-api-version"


@pytest.mark.parametrize("path", ["/compute", "/compute/"])
async def test_versions_are_listed_without_a_token(api: ComputeApi, path: str) -> None:
    answer = await api.client.get(path)
    assert answer.status_code == 200
    old, new = answer.json()["versions"]
    assert (old["id"], old["status"], old["version"]) == ("v2.0", "SUPPORTED", "")
    assert (new["id"], new["status"]) == ("v2.1", "CURRENT")
    assert (new["min_version"], new["version"]) == ("2.1", "2.104")
    assert new["links"] == [{"rel": "self", "href": "http://cloud.example/compute/v2.1/"}]


@pytest.mark.parametrize("path", ["/compute/v2.1", "/compute/v2.1/", "/compute/v2.1/{demo_project}"])
async def test_the_catalogs_url_answers_with_its_version(api: ComputeApi, path: str) -> None:
    await api.sign_in("demo")
    answer = await api.client.get(path.format(**api.kept))
    assert answer.status_code == 200
    version = answer.json()["version"]
    assert (version["id"], version["min_version"], version["version"]) == ("v2.1", "2.1", "2.104")
    assert version["media-types"][0]["type"] == "application/vnd.openstack.compute+json;version=2.1"


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ({}, "2.1"),
        ({STANDARD: "compute 2.53"}, "2.53"),
        ({LEGACY: "2.53"}, "2.53"),
        ({STANDARD: "compute 2.104"}, "2.104"),
        ({STANDARD: "compute latest"}, "2.104"),
        ({LEGACY: "latest"}, "2.104"),
        ({STANDARD: "placement 1.30, Compute 2.60"}, "2.60"),
        ({STANDARD: "placement 1.30"}, "2.1"),
        ({STANDARD: "compute 2.60", LEGACY: "2.10"}, "2.60"),
    ],
)
async def test_the_answer_names_the_version_asked_for(api: ComputeApi, headers: dict[str, str], version: str) -> None:
    answer = await api.ask("demo", "GET /compute/v2.1/flavors", headers=headers)
    assert answer.status_code == 200
    assert answer.headers[STANDARD] == f"compute {version}"
    assert answer.headers[LEGACY] == version
    assert STANDARD in answer.headers["vary"].lower()
    assert answer.headers["x-openstack-request-id"] == answer.headers["x-compute-request-id"]


@pytest.mark.parametrize("asked", ["2.105", "2.0", "1.9", "3.0"])
async def test_a_version_out_of_range_is_not_acceptable(api: ComputeApi, asked: str) -> None:
    message = await api.refused("demo", "GET /flavors", 406, version=asked)
    assert message == (f"Version {asked} is not supported by the API. Minimum is 2.1 and maximum is 2.104.")


@pytest.mark.parametrize("asked", ["2", "2.01", "two", "2.1.1", "-2.1"])
async def test_a_malformed_version_is_a_bad_request(api: ComputeApi, asked: str) -> None:
    assert "is of invalid format" in await api.refused("demo", "GET /flavors", 400, version=asked)


async def test_without_a_token_nothing_else_is_answered(api: ComputeApi) -> None:
    assert (await api.compute(None, "GET /servers")).status_code == 401


async def test_the_project_may_stand_in_the_path(api: ComputeApi) -> None:
    await api.sign_in("demo")
    assert (await api.compute("demo", "GET /{demo_project}/servers")).status_code == 200
    assert (await api.compute("demo", "GET /0123/servers")).status_code == 400
    assert (await api.compute("demo", "GET /another/servers")).status_code == 404


async def test_version_2_ignores_microversions(api: ComputeApi) -> None:
    answer = await api.ask("demo", "GET /compute/v2/flavors", headers={STANDARD: "compute 2.99"})
    assert answer.status_code == 200
    assert STANDARD not in answer.headers


async def test_a_method_of_another_microversion_is_not_found(api: ComputeApi) -> None:
    body = {"flavor": {"description": None}}
    assert (await api.compute("admin", "PUT /flavors/1", body, "2.54")).status_code == 404
    assert "Flavor 1 could not be found." in await api.refused("admin", "PUT /flavors/1", 404, body, "2.55")


async def test_unknown_query_parameters_are_refused_from_2_102_everywhere(api: ComputeApi) -> None:
    await api.have_flavor()
    assert (await api.compute("demo", "GET /flavors/small?x=1", version="2.101")).status_code == 200
    assert "'x'" in await api.refused("demo", "GET /flavors/small?x=1", 400, version="2.102")
