"""The routes and rules of Renova's own API, at /renova/v1; for administrators."""

from renova.api.dispatch import Service
from renova.api.hosts import cluster, drains, duties, hosts, join_tokens, power, proofs, recoveries, rehearsals
from renova.api.http import Reply, Route
from renova.operations.cloud import Cloud

POLICY = {
    "renova:join_tokens:create": "rule:admin_api",
    "renova:hosts:list": "rule:admin_api",
    "renova:duties:list": "rule:admin_api",
    "renova:duties:run": "rule:admin_api",
    "renova:hosts:vouch": "rule:admin_api",
    "renova:hosts:clean": "rule:admin_api",
    "renova:hosts:remove": "rule:admin_api",
    "renova:hosts:drain": "rule:admin_api",
    "renova:hosts:trust_power": "rule:admin_api",
    "renova:power:show": "rule:admin_api",
    "renova:power:wire": "rule:admin_api",
    "renova:power:test": "rule:admin_api",
    "renova:power:switch": "rule:admin_api",
    "renova:status": "rule:admin_api",
    "renova:rehearse": "rule:admin_api",
    "renova:recoveries:list": "rule:admin_api",
    "renova:brake:release": "rule:admin_api",
    "renova:eras:begin": "rule:admin_api",
    "renova:eras:choose": "rule:admin_api",
    "renova:eras:dismiss": "rule:admin_api",
}

_ROUTES = [
    Route("POST", "/join-tokens", join_tokens.create),
    Route("GET", "/hosts", hosts.list_all),
    Route("GET", "/duties", duties.list_all),
    Route("POST", "/duties/{duty}", duties.run),
    Route("GET", "/hosts/{host}", hosts.show),
    Route("DELETE", "/hosts/{host}", hosts.remove),
    Route("POST", "/hosts/{host}/vouch", hosts.vouch),
    Route("POST", "/hosts/{host}/clean", hosts.clean),
    Route("GET", "/hosts/{host}/asides", hosts.asides),
    Route("GET", "/hosts/{host}/drain", drains.show),
    Route("PUT", "/hosts/{host}/drain", drains.begin),
    Route("DELETE", "/hosts/{host}/drain", drains.undo),
    Route("POST", "/hosts/{host}/trust-power", hosts.trust_power),
    Route("GET", "/hosts/{host}/power", power.show),
    Route("PUT", "/hosts/{host}/power", power.put),
    Route("DELETE", "/hosts/{host}/power", power.remove),
    Route("POST", "/hosts/{host}/power/test", power.test),
    Route("POST", "/hosts/{host}/power/switch", power.switch),
    Route("POST", "/hosts/{host}/power/rehearse", power.rehearse),
    Route("POST", "/power/reseal", power.reseal),
    Route("GET", "/proofs", proofs.list_all),
    Route("GET", "/status", cluster.status),
    Route("GET", "/recoveries", recoveries.list_all),
    Route("GET", "/recoveries/{recovery}", recoveries.show),
    Route("GET", "/rehearsal", rehearsals.show),
    Route("GET", "/survival", rehearsals.survival),
    Route("POST", "/brake/release", cluster.release_brake),
    Route("POST", "/eras", cluster.begin_era),
    Route("POST", "/servers/{server}/choose", cluster.choose),
    Route("POST", "/strangers/{stranger}/dismiss", cluster.dismiss),
]


def _error(status: int, message: str, request_id: str) -> Reply:
    return Reply(status, {"error": {"code": status, "message": message, "request_id": request_id}})


def service(cloud: Cloud) -> Service:
    return Service("renova", ("/renova/v1",), _ROUTES, _error)
