"""What a run is shown as: `report.html`, one self-contained page in two languages, and the saved model's card."""

from emr_fl_server.report.card import model_card
from emr_fl_server.report.page import write_report

__all__ = ["model_card", "write_report"]
