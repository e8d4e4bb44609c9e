"""The service as a good engineer would write it first: what the product's speed is held against.

FastAPI, pydantic, PyJWT and a pool of 16 connections; plain tables that are changed in place, one short
transaction per request, its rows locked or its UPDATE guarded. It gives the same answers as the product, as a
test sees to, on the same PostgreSQL with the same durability. What it does not have: a log of what happened,
idempotency keys, open streams, refunds, paged lists, estimates of the time to wait, most of a sale's policy.
"""
