"""Every wrong setting is refused when its process starts, by its name; no safe-looking lease is unsafe."""

import math
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renova.model.errors import BadSetup
from renova.settings import AgentSettings, ControllerSettings, LeaseTimes, load


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "renova.toml"
    path.write_text(text)
    return path


def test_without_a_file_the_defaults_hold_and_are_safe() -> None:
    settings = load(ControllerSettings, None, {})
    assert settings == ControllerSettings()
    settings.lease.check()
    assert load(AgentSettings, None, {}) == AgentSettings()


def test_a_file_and_then_the_environment_override_the_defaults(tmp_path: Path) -> None:
    path = file(tmp_path, 'api_port = 1\nregion = "North"\nagents_names = ["a"]\n[lease]\nttl = 40\nmargin = 20\n')
    environment = {"RENOVA_API_PORT": "2", "RENOVA_AGENTS_NAMES": "b, c,", "RENOVA_HOME": "x", "PATH": "y"}
    settings = load(ControllerSettings, path, environment)
    assert (settings.api_port, settings.region, settings.lease.ttl) == (2, "North", 40.0)
    assert settings.agents_names == ("b", "c")


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    path = file(tmp_path, "api_port = 7")
    assert load(ControllerSettings, None, {"RENOVA_CONFIG": str(path)}).api_port == 7
    assert load(ControllerSettings, None, {"RENOVA_CONFIG": ""}).api_port == ControllerSettings().api_port
    other = tmp_path / "other.toml"
    other.write_text("api_port = 8")
    assert load(ControllerSettings, other, {"RENOVA_CONFIG": str(path)}).api_port == 8


@pytest.mark.parametrize("name", ["AGENTS_NAMES", "EXTRA_PEERS"])
def test_an_empty_list_in_the_environment_is_an_empty_list(name: str) -> None:
    settings = load(ControllerSettings, None, {f"RENOVA_{name}": ""})
    assert getattr(settings, name.lower()) == ()


def test_words_of_the_environment_become_what_the_setting_is() -> None:
    environment = {
        "RENOVA_RESUME_GUESTS_ON_BOOT": "false",
        "RENOVA_TOKEN_HOURS": "0.5",
        "RENOVA_CREATE_ATTEMPTS": "5",
        "RENOVA_LOG_LEVEL": "DEBUG",
    }
    settings = load(ControllerSettings, None, environment)
    assert (settings.resume_guests_on_boot, settings.token_hours, settings.create_attempts) == (False, 0.5, 5)
    assert settings.log_level == "DEBUG"


BAD: list[tuple[str, str]] = [
    ("api_port = 'many'", "api_port"),
    ("api_port = 70000", "api_port"),
    ("api_port = -1", "api_port"),
    ("agents_port = 65536", "agents_port"),
    ("create_attempts = 0", "create_attempts"),
    ("soft_reboot_wait = -1", "soft_reboot_wait"),
    ("shutdown_wait = -0.1", "shutdown_wait"),
    ("token_hours = 0", "token_hours"),
    ("token_hours = nan", "token_hours"),
    ("shutdown_wait = inf", "shutdown_wait"),
    ("log_level = 'loud'", "log_level"),
    ("regoin = 'North'", "regoin"),
    ("agents_names = 'a'", "agents_names"),
    ("resume_guests_on_boot = 'perhaps'", "resume_guests_on_boot"),
    ("lease = 20", "lease"),
    ("[lease]\nttll = 20", "ttll"),
    ("[lease]\nttl = 'long'", "lease.ttl"),
    ("[lease]\nttl = 19.9", "lease.ttl"),
    ("[lease]\nfailover = 14", "lease.ttl"),
    ("[lease]\nrenew = 2.5", "lease.ttl"),
    ("[lease]\nmargin = 11", "lease.margin"),
    ("[lease]\nstop_budget = 12", "lease.margin"),
    ("[lease]\ndrift = 0.05", "lease.margin"),
    # What would make the inequalities hold by nonsense.
    ("[lease]\nttl = nan", "lease.ttl"),
    ("[lease]\nttl = inf", "lease.ttl"),
    ("[lease]\nmargin = inf", "lease.margin"),
    ("[lease]\nmargin = nan", "lease.margin"),
    ("[lease]\ndrift = -1", "lease.drift"),
    ("[lease]\ndrift = nan", "lease.drift"),
    ("[lease]\ndrift = 1", "lease.drift"),
    ("[lease]\nstop_budget = -50\nmargin = 0", "lease.stop_budget"),
    ("[lease]\nrenew = 0", "lease.renew"),
    ("[lease]\nrenew = -1", "lease.renew"),
    ("[lease]\nrenew = nan", "lease.renew"),
    ("[lease]\nfailover = -20\nttl = 1", "lease.failover"),
]


@pytest.mark.parametrize(("text", "name"), BAD, ids=[text.replace("\n", " ") for text, _ in BAD])
def test_a_wrong_setting_is_refused_by_its_name(tmp_path: Path, text: str, name: str) -> None:
    path = file(tmp_path, text)
    with pytest.raises(BadSetup) as error:
        load(ControllerSettings, path, {})
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"RENOVA_API_PORT": "many"}, "api_port"),
        ({"RENOVA_API_PORT": ""}, "api_port"),
        ({"RENOVA_LEASE": "20"}, "lease"),
        ({"RENOVA_LOG_LEVEL": "loud"}, "log_level"),
        ({"RENOVA_RESUME_GUESTS_ON_BOOT": "perhaps"}, "resume_guests_on_boot"),
    ],
)
def test_a_wrong_word_of_the_environment_is_refused_by_its_name(environment: dict[str, str], name: str) -> None:
    with pytest.raises(BadSetup, match=name):
        load(ControllerSettings, None, environment)


@pytest.mark.parametrize(
    ("text", "name"),
    [("reserved_memory_mb = -1", "reserved_memory_mb"), ("log_level = ''", "log_level"), ("x = 1", "x")],
)
def test_an_agents_wrong_setting_is_refused_by_its_name(tmp_path: Path, text: str, name: str) -> None:
    with pytest.raises(BadSetup, match=name):
        load(AgentSettings, file(tmp_path, text), {})


def test_a_file_that_is_none_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(BadSetup, match=r"gone\.toml cannot be read \(No such file"):
        load(ControllerSettings, tmp_path / "gone.toml", {})
    with pytest.raises(BadSetup, match="cannot be read"):
        load(ControllerSettings, tmp_path, {})
    with pytest.raises(BadSetup, match=r"renova\.toml is not TOML: .*line 1"):
        load(ControllerSettings, file(tmp_path, "api_port = = 1"), {})
    (tmp_path / "latin.toml").write_bytes(b'region = "S\xfcd"')
    with pytest.raises(BadSetup, match="is not TOML"):
        load(ControllerSettings, tmp_path / "latin.toml", {})


def test_a_settings_file_is_named_in_what_is_wrong_with_it(tmp_path: Path) -> None:
    with pytest.raises(BadSetup, match=r"renova\.toml.*docs/operate\.md lists all there are"):
        load(ControllerSettings, file(tmp_path, "api_port = 'x'"), {})


def number(low: float, high: float) -> st.SearchStrategy[float]:
    """Give what somebody may write: something sensible, or nonsense."""
    return st.floats(low, high) | st.sampled_from([0.0, -1.0, math.nan, math.inf, -math.inf, 1e300])


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("state_dir = " + "[" * 5000 + "]" * 5000, "is not TOML"),
        ("api_port = " + "9" * 5000, "is not TOML"),
        ('state_dir = "a\\u0000b"', "state_dir"),
        ('region = "a\\nb"', "region"),
        ('agents_names = ["a\\u001b"]', "agents_names"),
        ('public_url = "http://[::1"', "public_url"),
        ('public_url = "cloud.example"', "public_url"),
        ('public_url = "http://cloud.example:99999"', "public_url"),
        ('notifications = "https://["', "notifications"),
        ('database = "mysql://cloud.example/renova"', "database"),
        ('database = "postgres:://cloud.example/renova"', "database"),
        (f'agents_address = "{"a" * 64}"', "agents_address"),
        ('api_address = "one..two"', "api_address"),
        ('agents_names = ["one two"]', "agents_names"),
        ('agents_names = ["übung.example"]', "agents_names"),
        ('notification_token = "übung"', "notification_token"),
        ('notifications = "http://:80"', "notifications"),
    ],
    ids=lambda value: value[:30],
)
def test_what_would_be_found_wrong_only_later_is_refused_at_once(tmp_path: Path, text: str, about: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(text)
    with pytest.raises(BadSetup, match=about):
        load(ControllerSettings, file, {})


PUBLIC, NAMES = 'public_url = "http://cloud.example"', 'agents_names = ["10.1.0.1", "controller1.example"]'


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "", "fd00::1"])
def test_who_listens_everywhere_says_where_it_is_reached(tmp_path: Path, address: str) -> None:
    for listens, reached, wanted in (
        ("api_address", PUBLIC, r"Set public_url to .*http://cloud\.example:8774"),
        ("agents_address", NAMES, r"Set agents_names to .*10\.1\.0\.1"),
    ):
        text = f'{listens} = "{address}"\n'
        with pytest.raises(BadSetup, match=f"Setting {listens} = {address!r} .*{wanted}"):
            load(ControllerSettings, file(tmp_path, text), {})
        assert getattr(load(ControllerSettings, file(tmp_path, text + reached), {}), listens) == address


@pytest.mark.parametrize("name", ["10.1.0.1:8775", "controller.example:8775", "fd00::1", "[fd00::1]", "0.0.0.0", ""])
def test_a_name_that_hosts_could_not_dial_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadSetup, match=rf"agents_names has '{re.escape(name)}'.*without a port.*agents_port \(8775\)"):
        load(ControllerSettings, file(tmp_path, f'agents_names = ["controller1", "{name}"]'), {})


@pytest.mark.parametrize("setting", ["api_address", "agents_address"])
@pytest.mark.parametrize("address", ["10.1.0.1:99", "cloud.example:99", "[::1]:99"])
def test_an_address_with_a_port_is_refused(tmp_path: Path, setting: str, address: str) -> None:
    port = setting.replace("address", "port")
    with pytest.raises(BadSetup, match=f"Setting {setting} .* Its port is set by {port}"):
        load(ControllerSettings, file(tmp_path, f'{setting} = "{address}"\n{PUBLIC}\n{NAMES}\n'), {})


_VARIABLES = [f"RENOVA_{name.upper()}" for name in ControllerSettings.__struct_fields__]


@given(
    content=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))),
    environment=st.dictionaries(
        st.sampled_from(_VARIABLES), st.one_of(st.text(max_size=40), st.integers().map(str), st.floats().map(str))
    ),
)
def test_whatever_a_file_or_the_environment_says_is_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, environment: dict[str, str]
) -> None:
    file = tmp_path_factory.getbasetemp() / "settings.toml"
    file.write_bytes(content)
    for path in (file, None):
        with suppress(BadSetup):
            settings = load(ControllerSettings, path, environment)
            assert settings.lease.ttl > 0
            assert settings.controller_name.isprintable()


@given(
    values=st.fixed_dictionaries(
        {
            "renew": number(0.1, 5),
            "ttl": number(10, 60),
            "margin": number(0, 60),
            "stop_budget": number(0, 30),
            "drift": number(0, 0.2),
            "failover": number(0, 15),
        }
    )
)
def test_a_lease_that_passes_is_safe_whatever_its_numbers(values: dict[str, float]) -> None:
    try:
        times = msgspec.convert(values, LeaseTimes)
        times.check()
    except (msgspec.ValidationError, BadSetup):
        return
    assert all(math.isfinite(value) for value in values.values())
    # A host that stops at the end of its budget, by a slow clock, has stopped before we act, by a fast one.
    assert (times.ttl + times.margin) * (1 - times.drift) >= (times.ttl + times.stop_budget) * (1 + times.drift)
    assert times.stop_budget >= 0
    assert times.margin >= times.stop_budget - 1e-9  # numbers have a last digit
    assert times.ttl >= 3 * times.renew + 1 + times.failover
    assert 0 < times.suspect_after < times.ttl + times.margin


def test_the_url_is_where_the_api_listens_unless_it_is_said() -> None:
    assert ControllerSettings().url == "http://127.0.0.1:8774"
    assert ControllerSettings(public_url="https://cloud.example").url == "https://cloud.example"


def test_settings_do_not_change_while_a_process_runs() -> None:
    settings: Any = ControllerSettings()
    with pytest.raises(AttributeError):
        settings.api_port = 1
    assert msgspec.structs.replace(settings, api_port=1).api_port == 1
