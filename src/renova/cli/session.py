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
    The cloud's `auth_url` is known then.
    """
    try:
        connection = openstack.connect()
        where = connection.config.get_auth_args().get("auth_url")
        connection.session.get_token()
    except keystone.Unauthorized as error:
        raise BadSetup(
            f"{where} refuses user, password or project of the OS_* variables. Source this cloud's openrc."
        ) from error
    except (keystone.ConnectFailure, keystone.DiscoveryFailure) as error:
        answer = error.__context__  # while this was handled, keystoneauth gave up looking for its own API
        if isinstance(answer, keystone.HttpServerError):
            raise NotNow(
                f"Whoever answers at {where} cannot serve now ({answer}): controllers or their database are "
                "away. GET /healthcheck there says which; ask again when that is mended."
            ) from error
        if isinstance(answer, keystone.HttpError):
            raise BadSetup(
                f"What answers at {where} is no cloud ({answer}). OS_AUTH_URL looks like "
                "http://cloud.example:8774/identity/v3."
            ) from error
        raise NotNow(
            f"Nobody answers at {where}: start the controller, or have OS_AUTH_URL name one that runs."
        ) from error
    except ValueError as error:  # OS_AUTH_URL with half a bracket
        raise BadSetup(f"OS_AUTH_URL is no address ({error}). Source this cloud's openrc.") from error
    except TypeError as error:  # so says keystoneauth that a way to authenticate lacks an option
        raise BadSetup(
            f"The OS_* variables do not suffice for this OS_AUTH_TYPE ({error}). Unset that, and source this cloud's "
            "openrc."
        ) from error
    except (sdk.ConfigException, sdk.SDKException, keystone.ClientException) as error:
        raise BadSetup(
            f"No session with a cloud ({error}). Source its openrc first, or set OS_AUTH_URL, OS_USERNAME and so on, "
            "or OS_CLOUD."
        ) from error
    if where is None:  # "none" and "http_basic" ask nobody who the user is
        raise BadSetup(
            "By this OS_AUTH_TYPE nobody says which cloud is meant. Unset that, and source this cloud's openrc."
        )
    return connection
