"""The type checker that the import hook puts on every function while tests run."""

import beartype

# 0 is a float to people, and to PEP 484.
check = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
