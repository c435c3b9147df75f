"""Sessions with a cloud, as all OpenStack clients have them: from OS_* variables or clouds.yaml."""

import logging
from typing import Any

import openstack
from keystoneauth1 import exceptions as keystone
from openstack import exceptions as sdk

from renova.model.errors import BadSetup, NotNow

# It warns, in several lines, of what is said below in one sentence.
logging.getLogger("keystoneauth").setLevel(logging.ERROR)


def connect() -> Any:
    """Return an openstacksdk connection to the cloud of the environment (OS_CLOUD, or OS_AUTH_URL and so on).

    `BadSetup` when the environment names no cloud, or a user whom it refuses; `NotNow` when the cloud does not answer.
    """
    try:
        connection = openstack.connect()
        where = connection.config.get_auth_args().get("auth_url")
        connection.session.get_token()
    except keystone.Unauthorized as error:
        raise BadSetup(
            f"{where} refuses user or password of the OS_* variables. Source this cloud's openrc."
        ) from error
    except (keystone.ConnectFailure, keystone.DiscoveryFailure) as error:
        raise NotNow(
            f"Nobody answers at {where}: start the controller, or have OS_AUTH_URL name one that runs."
        ) from error
    except ValueError as error:  # OS_AUTH_URL with half a bracket
        raise BadSetup(f"OS_AUTH_URL is no address ({error}). Source this cloud's openrc.") from error
    except (sdk.ConfigException, sdk.SDKException, keystone.ClientException) as error:
        raise BadSetup(
            f"No session with a cloud ({error}). Source its openrc first, or set OS_CLOUD and OS_CLIENT_CONFIG_FILE."
        ) from error
    return connection
