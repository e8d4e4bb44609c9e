"""Faults: the whole product under load, while its processes die, stop, and lose one another.

    python -m tests.faults --seconds 60 --seed 1      (or: make faults SECONDS=60 SEED=1)

`product` runs everything as in production. `kinds` has what can be done to it, `run` does it at moments that
come from the seed, and measures how long others wait and how long it takes until all is well again. At the
end `verdict` holds the log, the read models and every recorded answer against one another.
"""
