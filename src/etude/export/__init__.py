"""Export of an assistant for other programs, and the measured loss on the test rows."""

from etude.export.hub import HUB, describe_upload, export_for_hub, upload_folder
from etude.export.retest import measure_loss
from etude.export.targets import TARGETS, describe_losses, export_weights
