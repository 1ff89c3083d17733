"""What `c2o gc` removes: files that the project has made and that no manifest, bundle, suite or running job needs.

`find_garbage` names them with the reason, `remove` deletes them under their locks. A file is removed only where its
place and its name are those of something that the project writes there; everything else is kept and counted.
"""

from c2o_evidence.garbage.find import Found, Item, find_garbage
from c2o_evidence.garbage.needs import Needs, read_needs
from c2o_evidence.garbage.remove import remove

__all__ = ["Found", "Item", "Needs", "find_garbage", "read_needs", "remove"]
