"""Sites of the residual stream: every model has them without knowledge of its family, and steering adds to them."""

from typing import Final

RESIDUAL: Final = ("resid_post", "resid_pre", "embed")
