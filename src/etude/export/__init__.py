"""Export of an assistant for other programs, and what they lose, measured on the test."""

from etude.export.retest import Retest, measure_loss
from etude.export.targets import TARGETS, ExportResult, export_weights

__all__ = ["TARGETS", "ExportResult", "Retest", "export_weights", "measure_loss"]
