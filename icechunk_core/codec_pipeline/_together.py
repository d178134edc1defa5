"""What `BulkCodecPipeline` does for our stores, loaded when there is one."""

from icechunk_core.codec_pipeline._reading import read_together
from icechunk_core.codec_pipeline._writing import write_together

__all__ = ["read_together", "write_together"]
