"""How people and the lab itself get at the cloud: openrc, clouds.yaml, and connections made from them."""

import shlex
import sys
from pathlib import Path
from typing import Any

import openstack

from renova.lab.blueprint import Blueprint
from renova.lab.home import Home

ADMIN, DEMO = "renova", "renova-demo"  # names in clouds.yaml
_USERS = {ADMIN: "admin", DEMO: "demo"}
_REGION = "RegionOne"
# Whatever of these was set for another cloud would win over, or contradict, what openrc sets.
_STRAYS = "OS_CLOUD OS_TOKEN OS_AUTH_TYPE OS_PROJECT_ID OS_USER_ID OS_TENANT_NAME OS_TENANT_ID OS_SYSTEM_SCOPE"


def write_access(home: Home, blueprint: Blueprint) -> None:
    """Write openrc (admin), demo-openrc and clouds.yaml, for their owner's eyes only; the controller made the users."""
    _write(home.openrc, _openrc(home, blueprint, "admin"))
    _write(home.demo_openrc, _openrc(home, blueprint, "demo"))
    clouds = [_cloud(home, blueprint, name, user) for name, user in _USERS.items()]
    _write(home.clouds_yaml, "clouds:\n" + "".join(clouds))


def connect(home: Home, cloud: str) -> Any:
    """Return an openstacksdk connection as `ADMIN` or `DEMO`; what the environment says of other clouds is ignored."""
    config = openstack.config.OpenStackConfig(config_files=[str(home.clouds_yaml)], load_envvars=False)
    return openstack.connection.Connection(config=config.get_one(cloud=cloud))


def _openrc(home: Home, blueprint: Blueprint, user: str) -> str:
    variables = {
        "OS_AUTH_URL": f"{blueprint.api_url}/identity/v3",
        "OS_USERNAME": user,
        "OS_PASSWORD": _password(home, user),
        "OS_PROJECT_NAME": user,
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_IDENTITY_API_VERSION": "3",
        "OS_REGION_NAME": _REGION,
        "RENOVA_HOME": str(home.path),
    }
    programs = shlex.quote(str(Path(sys.executable).parent))
    lines = [f"unset {_STRAYS}"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    # The clients: here, unless they are found already.
    lines += [f'case ":$PATH:" in *:{programs}:*) ;; *) export PATH={programs}:"$PATH" ;; esac']
    return "\n".join(lines) + "\n"


def _cloud(home: Home, blueprint: Blueprint, name: str, user: str) -> str:
    return f"""\
  {name}:
    auth:
      auth_url: {blueprint.api_url}/identity/v3
      username: {user}
      password: "{_password(home, user)}"
      project_name: {user}
      user_domain_name: Default
      project_domain_name: Default
    region_name: {_REGION}
    identity_api_version: 3
"""


def _password(home: Home, user: str) -> str:
    return home.password(user).read_text().strip()


def _write(file: Path, text: str) -> None:
    new = file.with_name(file.name + ".new")
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(file)
