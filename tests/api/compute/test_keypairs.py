"""Users have key pairs of their own."""

from .compute_cloud import ComputeApi

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE7EJTBFFAzPwRIXmdYzEsXGsJR0N4J5ZQFfQ9j0u3mS me@home"
PATH = "/os-keypairs"


async def test_a_public_key_is_imported_with_its_fingerprint(api: ComputeApi) -> None:
    made = (await api.got("demo", f"POST {PATH}", {"keypair": {"name": "mine", "public_key": ED25519}}))["keypair"]
    assert made["public_key"] == ED25519
    assert made["fingerprint"].count(":") == 15
    assert made["user_id"] == api.kept["demo_user"]
    assert "type" not in made
    assert "private_key" not in made
    shown = (await api.got("demo", f"GET {PATH}/mine", version="2.2"))["keypair"]
    assert (shown["type"], shown["deleted"], shown["id"]) == ("ssh", False, 1)
    listed = (await api.got("demo", f"GET {PATH}"))["keypairs"]
    assert [entry["keypair"]["name"] for entry in listed] == ["mine"]


async def test_old_clients_have_a_pair_made_and_get_its_private_half_once(api: ComputeApi) -> None:
    made = (await api.got("demo", f"POST {PATH}", {"keypair": {"name": "made"}}, "2.2", 201))["keypair"]
    assert made["private_key"].startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert made["public_key"].startswith("ssh-rsa ")
    assert "private_key" not in (await api.got("demo", f"GET {PATH}/made"))["keypair"]
    message = await api.refused("demo", f"POST {PATH}", 400, {"keypair": {"name": "new"}}, "2.92")
    assert "public_key" in message


async def test_names_are_unique_and_plain(api: ComputeApi) -> None:
    body = {"keypair": {"name": "a", "public_key": ED25519}}
    await api.got("demo", f"POST {PATH}", body)
    assert await api.refused("demo", f"POST {PATH}", 409, body) == "Key pair 'a' already exists."
    await api.got("admin", f"POST {PATH}", body)
    dotted = {"keypair": {"name": "me@home.example", "public_key": ED25519}}
    await api.refused("demo", f"POST {PATH}", 400, dotted)
    await api.got("demo", f"POST {PATH}", dotted, "2.92", 201)
    for key in ("", "nonsense", "ssh-rsa nonsense"):
        message = await api.refused("demo", f"POST {PATH}", 400, {"keypair": {"name": "b", "public_key": key}}, "2.92")
        assert "fingerprint" in message or "public_key" in message
    await api.refused("demo", f"POST {PATH}", 400, {"keypair": {"name": "b", "type": "ssh"}}, "2.1")


async def test_keys_of_others_are_for_administrators(api: ComputeApi) -> None:
    await api.got("demo", f"POST {PATH}", {"keypair": {"name": "a", "public_key": ED25519}})
    await api.sign_in("admin")
    await api.refused("admin", f"GET {PATH}/a", 404)
    await api.got("admin", f"GET {PATH}/a?user_id={{demo_user}}", version="2.10")
    await api.refused("demo", f"GET {PATH}?user_id={{admin_user}}", 403, version="2.10")


async def test_keys_are_deleted(api: ComputeApi) -> None:
    for version, status in (("2.1", 202), ("2.2", 204)):
        await api.compute("demo", f"POST {PATH}", {"keypair": {"name": "a", "public_key": ED25519}}, version)
        await api.got("demo", f"DELETE {PATH}/a", version=version, status=status)
        await api.refused("demo", f"DELETE {PATH}/a", 404)


async def test_lists_are_paged_from_2_35(api: ComputeApi) -> None:
    for name in "cab":
        await api.got("demo", f"POST {PATH}", {"keypair": {"name": name, "public_key": ED25519}})
    page = await api.got("demo", f"GET {PATH}?limit=2", version="2.35")
    assert [entry["keypair"]["name"] for entry in page["keypairs"]] == ["a", "b"]
    assert page["keypairs_links"][0]["href"].endswith("/os-keypairs?limit=2&marker=b")
    rest = await api.got("demo", f"GET {PATH}?limit=2&marker=b", version="2.35")
    assert [entry["keypair"]["name"] for entry in rest["keypairs"]] == ["c"]
    await api.refused("demo", f"GET {PATH}?marker=z", 400, version="2.35")
    assert len((await api.got("demo", f"GET {PATH}?limit=1", version="2.34"))["keypairs"]) == 3


async def test_a_user_has_so_many_keys_and_no_more(api: ComputeApi) -> None:
    for number in range(100):
        await api.got("demo", f"POST {PATH}", {"keypair": {"name": f"k{number}", "public_key": ED25519}})
    message = await api.refused("demo", f"POST {PATH}", 403, {"keypair": {"name": "k", "public_key": ED25519}})
    assert message == "Quota exceeded, too many key pairs."
