"""From an address to a callable: fetch, verify, check, load, warm up. Knows neither HTTP servers nor Ray."""
