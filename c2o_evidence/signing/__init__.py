"""Signatures over frozen bundles: who stands behind a root digest. See docs/signatures.md.

The ledger lies in the same checkout as the bundle, so who can change one can change both; a signature needs the key.
`statement` says what is signed, `store` where signatures lie, `ssh` and `openssf` are the two ways to make one.
"""

from c2o_evidence.signing.check import Trust, check_signatures
from c2o_evidence.signing.statement import Statement, statement_of

__all__ = ["Statement", "Trust", "check_signatures", "statement_of"]
