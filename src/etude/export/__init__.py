"""Export of an assistant for other programs, and what they lose, measured on the test."""

from etude.export.retest import Retest, measure_loss
from etude.export.targets import TARGETS, ExportResult, describe_losses, export_weights

__all__ = ["TARGETS", "ExportResult", "Retest", "describe_losses", "export_weights", "measure_loss"]
