"""ttnn.kv_cache: the older names of `fill_cache` and `update_cache`."""

from tensix_sim.ttnn.decode import update_cache as update_cache_for_token_
from tensix_sim.ttnn.operations import fill_cache as fill_cache_for_user_

__all__ = ["fill_cache_for_user_", "update_cache_for_token_"]
