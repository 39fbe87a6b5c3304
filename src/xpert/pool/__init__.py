"""Pools of pLLMs: records in a catalog, adapters and the space in an artifact store.

`open_pool(folder)` is the way in. Importing this loads neither torch nor SQLAlchemy.
"""

from xpert.pool.artifacts import ArtifactStore
from xpert.pool.catalog import Catalog
from xpert.pool.pool import Pool, open_pool
from xpert.pool.reindexing import ReindexReport

__all__ = ["ArtifactStore", "Catalog", "Pool", "ReindexReport", "open_pool"]
