"""Commands that speak HTTP to a controller, like any other client, and share nothing else with it."""
