"""The transports: thin shells that perform the driver's effects with an HTTP library.

``_async_httpx2.py`` and ``_errors_httpx2.py`` are the sources; the other flavours are generated
from them by ``scripts/generate_shells.py``.
"""
