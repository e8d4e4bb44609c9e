"""A process that listens, as API processes do, and hears nothing. `python … DSN`."""

import asyncio
import sys

from infrastructure.hearing import Hearing

asyncio.run(Hearing(sys.argv[1], write_every_s=0.05).run(asyncio.Event()))
