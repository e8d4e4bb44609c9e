"""Hostile input: requests made of the OpenAPI document, forged tokens, odd bytes, injections, and leaks."""
