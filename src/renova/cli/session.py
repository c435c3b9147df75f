"""Sessions with a cloud, as all OpenStack clients have them: from OS_* variables or clouds.yaml."""

from typing import Any

import openstack
from keystoneauth1 import exceptions as keystone
from openstack import exceptions as sdk

from renova.model.errors import BadSetup


def connect() -> Any:
    """Return an openstacksdk connection to the cloud of the environment (OS_CLOUD, or OS_AUTH_URL and so on)."""
    try:
        connection = openstack.connect()
        connection.authorize()
    except (sdk.ConfigException, sdk.SDKException, keystone.ClientException) as error:
        raise BadSetup(
            f"No session with a cloud ({error}). Source its openrc first, or set OS_CLOUD and OS_CLIENT_CONFIG_FILE."
        ) from error
    return connection
