"""Export of an assistant for other programs, and the measured loss on the test rows."""

from etude.export.hub import HUB, describe_upload, export_for_hub, upload_folder
from etude.export.retest import Retest, measure_loss
from etude.export.targets import TARGETS, ExportResult, describe_losses, export_weights

__all__ = [
    "HUB",
    "TARGETS",
    "ExportResult",
    "Retest",
    "describe_losses",
    "describe_upload",
    "export_for_hub",
    "export_weights",
    "measure_loss",
    "upload_folder",
]
